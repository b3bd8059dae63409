"""Hooks and what is about each run."""
