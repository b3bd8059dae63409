"""The lock file, alone and in a crowd."""
