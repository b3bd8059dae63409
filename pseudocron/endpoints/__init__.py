"""Endpoints: the trigger URL, which polls, and the health check."""
