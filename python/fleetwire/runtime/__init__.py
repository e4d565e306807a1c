"""Plumbing of a process that knows nothing of fleets: background tasks, their supervision, retries."""
