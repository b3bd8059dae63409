"""The applications that `double_runs` serves: the same work each second, by one scheduler each."""
