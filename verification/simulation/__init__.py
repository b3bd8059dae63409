"""A simulation of many processes: one thread, a clock of its own, and chance from a seed."""
