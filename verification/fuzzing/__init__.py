"""Fuzzing: inputs made of bytes for each parser, store and endpoint, and what they have to be answered with."""
