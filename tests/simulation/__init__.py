"""Short runs of the simulation, and histories that break each of its rules."""
