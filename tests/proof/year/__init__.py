"""A year of some instances in minutes: how much of the time each could work, and what became of its jobs."""
