"""The commands of `fleetwire`, one file per subject."""
