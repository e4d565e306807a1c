-- Sessions that are refreshed by a token of their own, drivers that have a device, credentials with narrower scopes.

-- Only hashes of refresh tokens are kept: of what all of one session have in common, of the newest, and of the one
-- before it. Which session a replaced token belonged to can thus still be told, and the session be ended.
ALTER TABLE session
    ADD COLUMN family_hash bytea CHECK (octet_length(family_hash) = 32),
    ADD COLUMN refresh_hash bytea CHECK (octet_length(refresh_hash) = 32),
    ADD COLUMN previous_hash bytea CHECK (octet_length(previous_hash) = 32),
    ADD COLUMN refreshed_at timestamptz,
    ADD COLUMN address text CHECK (char_length(address) <= 64),
    ADD COLUMN user_agent text CHECK (char_length(user_agent) <= 255);

-- What a driver reports for and may look at. Of no use to another role.
ALTER TABLE app_user
    ADD COLUMN device_id bigint,
    ADD CONSTRAINT app_user_device_of_driver CHECK (device_id IS NULL OR role = 'driver'),
    ADD CONSTRAINT app_user_device FOREIGN KEY (tenant_id, device_id) REFERENCES device;
CREATE INDEX app_user_device ON app_user (tenant_id, device_id) WHERE device_id IS NOT NULL;

-- Permissions that a credential keeps of those its role has; null: all of them.
ALTER TABLE credential ADD COLUMN scopes text[];

-- As before, with the scopes, and with the device of a driver's token.
DROP FUNCTION find_credential(bytea);
CREATE FUNCTION find_credential(wanted_hash bytea) RETURNS TABLE (
    tenant_id int,
    tenant text,
    tenant_status text,
    credential_id bigint,
    kind text,
    device_id bigint,
    device text,
    user_id bigint,
    user_name text,
    user_status text,
    role text,
    scopes text[],
    expires_at timestamptz,
    revoked_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
    SELECT
        c.tenant_id, t.name, t.status, c.credential_id, c.kind, d.device_id, d.name, c.user_id, u.name, u.status,
        coalesce(c.role, u.role), c.scopes, c.expires_at, c.revoked_at
    FROM credential AS c
    JOIN tenant AS t USING (tenant_id)
    LEFT JOIN app_user AS u USING (tenant_id, user_id)
    LEFT JOIN device AS d ON d.tenant_id = c.tenant_id AND d.device_id = coalesce(c.device_id, u.device_id)
    WHERE c.token_hash = wanted_hash
$$;
REVOKE EXECUTE ON FUNCTION find_credential FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_credential TO fleetwire_app;
