"""The server process: starts, supervises and drains workers."""
