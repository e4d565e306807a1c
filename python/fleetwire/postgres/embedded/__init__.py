"""A real PostgreSQL as a child process, in a data folder."""
