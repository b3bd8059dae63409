"""Tasks and jobs: functions that may be deferred, and the storing of their calls."""
