"""Runs on the loop, in threads and in child processes, and what is left of them."""
