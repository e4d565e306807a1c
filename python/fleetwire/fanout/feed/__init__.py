"""Live feeds: what a dispatcher's socket has not seen yet, sent once a tick."""
