"""What a look does."""
