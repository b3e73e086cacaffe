"""Alerts: what happened, told to people elsewhere. Collected, kept on disk, sent by a thread that nobody waits for."""
