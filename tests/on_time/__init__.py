"""What is due starts in time: within a second, and the gap to the next visit of a process that may run it."""
