-- How often devices of the tenant were removed: a worker that missed the notification finds out when it listens again.
ALTER TABLE tenant ADD COLUMN device_removals int NOT NULL DEFAULT 0;
