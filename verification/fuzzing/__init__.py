"""Fuzzing: inputs made of bytes for each language and each endpoint, and what they have to be answered with."""
