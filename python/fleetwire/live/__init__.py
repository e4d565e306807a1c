"""The present: the newest fix of every device."""
