"""Orders: which devices work on which order."""
