"""The jobs of upkeep: each has its own interval and time slice, and remembers where it goes on (`job.py`)."""
