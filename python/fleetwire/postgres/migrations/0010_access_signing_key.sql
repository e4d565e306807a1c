-- The first login on a new installation makes the first signing key, and its role may not write the table.

-- Keeps the offered key if there is no live one. Two first logins at once both offer; the lock lets one in, and the
-- other then finds its key.
CREATE FUNCTION ensure_signing_key(offered_kid text, offered_secret bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(6712439, 3);
    IF NOT EXISTS (SELECT FROM signing_key WHERE retired_at IS NULL) THEN
        INSERT INTO signing_key (kid, secret) VALUES (offered_kid, offered_secret);
    END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION ensure_signing_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_signing_key TO fleetwire_app;
