"""A short run of chaos, and histories that break each of its rules."""
