"""Tools that look for broken promises, each with a command of its own; `tests/` runs a little of each."""
