"""The business: a folder per feature."""
