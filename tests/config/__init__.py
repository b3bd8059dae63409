"""Every form of an entry, every setting, every mistake."""
