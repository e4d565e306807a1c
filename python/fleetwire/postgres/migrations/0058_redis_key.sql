-- What workers put into Redis is signed with these keys: who can write there, but not read this table, is not believed.

CREATE TABLE redis_key (
    key_id int PRIMARY KEY,
    secret bytea NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Without a policy: only the owner and the functions below.
ALTER TABLE redis_key ENABLE ROW LEVEL SECURITY;

-- 244 random bits, from the source that makes the random identifiers.
CREATE FUNCTION add_redis_key() RETURNS void
LANGUAGE sql
SET search_path = public, pg_temp
AS $$
    INSERT INTO redis_key (key_id, secret)
    SELECT coalesce(max(key_id), 0) + 1, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    FROM redis_key
$$;

SELECT add_redis_key();

-- The newest signs; the one before it is still believed, for what was written before the keys were rotated.
CREATE FUNCTION redis_keys() RETURNS TABLE (secret bytea)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
    SELECT k.secret FROM redis_key AS k ORDER BY k.key_id DESC LIMIT 2
$$;

REVOKE EXECUTE ON FUNCTION add_redis_key, redis_keys FROM PUBLIC;
GRANT EXECUTE ON FUNCTION redis_keys TO fleetwire_app;
