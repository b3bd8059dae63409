"""Instrumentation for other tools: one module each, imported only where it is used."""

__all__ = ["opentelemetry", "ping", "prometheus", "sentry"]
