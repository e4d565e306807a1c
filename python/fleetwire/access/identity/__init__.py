"""Authentication: from a credential to its principal, and what the principal may do."""
