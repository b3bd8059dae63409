"""Tools that look for faults in pseudocron; they are not part of the package."""
