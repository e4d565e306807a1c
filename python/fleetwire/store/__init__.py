"""It becomes durable: the database, its schema, and the way in and out of it."""
