"""What others want to know of runs, in the forms they know: one module each, imported only by who uses it."""

__all__ = ["opentelemetry", "ping", "prometheus", "sentry"]
