"""Schedules, against oracles and second opinions."""
