"""It reaches the watchers: who cares, what they have not seen, and the sockets it leaves by."""
