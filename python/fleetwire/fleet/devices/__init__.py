"""Devices of a tenant: listed by name, and removed with all they sent."""
