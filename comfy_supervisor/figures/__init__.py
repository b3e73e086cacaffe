"""What an instance's records tell of a span of time: how long it was up, what ended it, and what its jobs took."""
