"""What people write: where a configuration comes from, what an entry, a setting and a value may be."""
