"""Users, sessions, API tokens, signing keys, and the audit log."""
