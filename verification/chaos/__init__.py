"""Chaos: real processes under load, while a nemesis harms them and their store, and a checker of what was seen."""
