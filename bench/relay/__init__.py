"""What the relay adds to the way of a movement."""
