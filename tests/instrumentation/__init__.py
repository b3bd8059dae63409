"""The instrumentation, against the libraries that it is for."""
