"""Connections to PostgreSQL: pools, notifications, statements, migrations."""
