"""What the tests from outside have in common: a server as a child process, a client, databases, traces."""
