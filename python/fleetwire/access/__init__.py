"""Who may do what: credentials, logins, sessions, roles, and the origin a browser's request must have."""
