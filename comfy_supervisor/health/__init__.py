"""Whether an instance works."""
