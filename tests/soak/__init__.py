"""What is left behind after much work: nothing."""
