"""The doors that are URLs: the trigger, which makes a look happen, and the health of the scheduling; what both tell."""
