"""Messages between workers, over Redis Pub/Sub."""
