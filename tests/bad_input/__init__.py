"""What people get wrong, and what disks and modes do to a store."""
