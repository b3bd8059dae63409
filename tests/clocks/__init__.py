"""Clocks that go wrong, and calendars that are odd."""
