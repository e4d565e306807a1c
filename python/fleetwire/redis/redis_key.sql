-- redis_keys --
-- The keys that sign what workers put into Redis, the newest first.
SELECT secret FROM redis_keys();

-- add_redis_key --
-- Makes the key that signs from now on; for the owner.
SELECT add_redis_key();

-- delete_old_redis_keys --
-- Leaves the newest keys, so many of them.
-- $1 kept bigint
DELETE FROM redis_key WHERE key_id NOT IN (SELECT key_id FROM redis_key ORDER BY key_id DESC LIMIT $1);

-- notify_redis_keys --
-- Tells every worker, at the commit, that the keys were rotated.
-- $1 channel text
SELECT pg_notify($1, '');
