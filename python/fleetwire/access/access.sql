-- find_credential --
-- The credential of a token with its tenant, device and user, whatever its state.
-- $1 token_hash bytea
SELECT
    tenant_id, tenant, tenant_status, credential_id, kind, device_id, device, user_id, user_name, user_status,
    coalesce(role, kind) AS role, scopes, expires_at, revoked_at IS NOT NULL AS revoked
FROM find_credential($1);

-- note_uses --
-- Notes that credentials were used, unless that was noted in the last minute or another worker is at it.
-- $1 tenant_id int, $2 credential_ids bigint[]
UPDATE credential AS c
SET last_used_at = now()
FROM (
    SELECT credential_id
    FROM credential
    WHERE tenant_id = $1
        AND credential_id = ANY ($2::bigint[])
        AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
    ORDER BY credential_id
    FOR UPDATE SKIP LOCKED
) AS used
WHERE c.tenant_id = $1 AND c.credential_id = used.credential_id;

-- find_login --
-- What a login is checked against; the status of both user and tenant counts.
-- $1 tenant text, $2 user_name text
SELECT tenant_id, user_id, role, status, tenant_status, password_hash FROM find_login($1, $2);

-- signing_keys --
-- The keys that verify logins, newest first; a retired one as long as a session can show what it signed.
-- $1 session_life_secs int
SELECT kid, secret, retired_at IS NULL AS may_sign
FROM signing_keys()
WHERE retired_at IS NULL OR retired_at > now() - $1::int * interval '1 second'
ORDER BY created_at DESC, kid;

-- ensure_signing_key --
-- Keeps the offered key if no live one exists.
-- $1 kid text, $2 secret bytea
SELECT ensure_signing_key($1, $2);

-- find_session --
-- A session with its user as they are at this moment.
-- $1 tenant_id int, $2 session_id uuid
SELECT
    s.user_id, s.revoked_at IS NOT NULL AS revoked, s.expires_at <= now() AS expired,
    u.name AS user_name, u.role, u.status AS user_status, u.device_id, d.name AS device,
    t.name AS tenant, t.status AS tenant_status,
    u.role = 'driver' AND u.device_id IS NULL AND EXISTS (
        SELECT FROM device AS n WHERE n.tenant_id = $1 AND n.name = u.name
    ) AS is_named_like_a_device
FROM session AS s
JOIN app_user AS u USING (tenant_id, user_id)
JOIN tenant AS t USING (tenant_id)
LEFT JOIN device AS d ON d.tenant_id = u.tenant_id AND d.device_id = u.device_id
WHERE s.tenant_id = $1 AND s.session_id = $2;

-- is_device_name --
-- Whether a device of the tenant has this name.
-- $1 tenant_id int, $2 name text
SELECT EXISTS (SELECT FROM device WHERE tenant_id = $1 AND name = $2);

-- revoke_session --
-- Ends a session; the first end stays.
-- $1 tenant_id int, $2 session_id uuid
UPDATE session SET revoked_at = now() WHERE tenant_id = $1 AND session_id = $2 AND revoked_at IS NULL;

-- notify_revoked --
-- Tells every worker, at the commit, the hex of a credential's hash or of a session's id.
-- $1 channel text, $2 key text
SELECT pg_notify($1, $2);

-- ensure_tenant --
-- Creates a tenant that is missing.
-- $1 name text
INSERT INTO tenant (name) VALUES ($1) ON CONFLICT (name) DO NOTHING;

-- find_tenant --
-- A tenant by its name.
-- $1 name text
SELECT tenant_id, status FROM tenant WHERE name = $1;

-- ensure_device --
-- A device by its name, created with its live position if missing; no row when the tenant is at its device limit.
-- $1 tenant_id int, $2 name text
SELECT device_id FROM create_devices($1, ARRAY[$2::text]);

-- ensure_user --
-- Creates a user that is missing, without a password.
-- $1 tenant_id int, $2 name text, $3 role text
INSERT INTO app_user (tenant_id, name, role) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, name) DO NOTHING;

-- find_user --
-- A user by its name.
-- $1 tenant_id int, $2 name text
SELECT user_id, role, status FROM app_user WHERE tenant_id = $1 AND name = $2;

-- set_password --
-- Replaces a user's password; no row when there is no such user.
-- $1 tenant_id int, $2 name text, $3 password_hash text
UPDATE app_user SET password_hash = $3 WHERE tenant_id = $1 AND name = $2 RETURNING user_id;

-- revoke_sessions_of_user --
-- Ends every session of a user that still lives.
-- $1 tenant_id int, $2 user_id bigint
UPDATE session SET revoked_at = now()
WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > now()
RETURNING session_id;

-- create_credential --
-- Stores a new credential; life_secs null means without an end.
-- $1 tenant_id int, $2 kind text, $3 label text, $4 token_hash bytea, $5 device_id bigint, $6 user_id bigint, $7 life_secs int, $8 scopes text[]
INSERT INTO credential (tenant_id, kind, label, token_hash, device_id, user_id, expires_at, scopes)
VALUES ($1, $2, $3, $4, $5, $6, now() + $7::int * interval '1 second', $8)
RETURNING credential_id;

-- list_credentials --
-- The credentials of a tenant, newest first, without anything a token could be found by.
-- $1 tenant_id int
SELECT
    c.credential_id, c.kind, c.label, d.name AS device, u.name AS user_name,
    coalesce(c.role, u.role, c.kind) AS role, c.created_at, c.expires_at, c.revoked_at, c.last_used_at
FROM credential AS c
LEFT JOIN device AS d USING (tenant_id, device_id)
LEFT JOIN app_user AS u USING (tenant_id, user_id)
WHERE c.tenant_id = $1
ORDER BY c.credential_id DESC;

-- revoke_credential_by_hash --
-- Revokes a credential, wherever it belongs; the first revocation stays.
-- $1 token_hash bytea
UPDATE credential SET revoked_at = coalesce(revoked_at, now()) WHERE token_hash = $1
RETURNING tenant_id, credential_id, token_hash;

-- revoke_credential_by_id --
-- Revokes a credential; the first revocation stays.
-- $1 credential_id bigint
UPDATE credential SET revoked_at = coalesce(revoked_at, now()) WHERE credential_id = $1
RETURNING tenant_id, credential_id, token_hash;

-- revoke_credential_of_tenant --
-- Revokes a credential of one tenant; the first revocation stays.
-- $1 tenant_id int, $2 credential_id bigint
UPDATE credential SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND credential_id = $2
RETURNING credential_id, token_hash;

-- page_credentials --
-- The credentials of a tenant, newest first; before_id null begins with the newest.
-- $1 tenant_id int, $2 before_id bigint, $3 most bigint
SELECT
    c.credential_id, c.kind, c.label, d.name AS device, u.name AS user_name,
    coalesce(c.role, u.role, c.kind) AS role, c.scopes, c.created_at, c.expires_at, c.revoked_at, c.last_used_at
FROM credential AS c
LEFT JOIN device AS d USING (tenant_id, device_id)
LEFT JOIN app_user AS u USING (tenant_id, user_id)
WHERE c.tenant_id = $1 AND ($2::bigint IS NULL OR c.credential_id < $2)
ORDER BY c.credential_id DESC
LIMIT $3;

-- credentials_of_user --
-- What the living credentials of a user are known by.
-- $1 tenant_id int, $2 user_id bigint
SELECT token_hash FROM credential WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL;

-- lock_signing_keys --
-- Nobody else makes or retires a signing key until the transaction ends.
SELECT pg_advisory_xact_lock(6712439, 3);

-- retire_signing_keys --
-- The keys that sign stop doing so; what they have signed stays good.
UPDATE signing_key SET retired_at = now() WHERE retired_at IS NULL;

-- delete_retired_keys --
-- Deletes the keys that were retired so long ago, or longer.
-- $1 older_than_secs int
DELETE FROM signing_key WHERE retired_at <= now() - $1::int * interval '1 second';

-- add_signing_key --
-- A new key, which signs from now on. Not now(): within one transaction it must be newer than what it replaces.
-- $1 kid text, $2 secret bytea
INSERT INTO signing_key (kid, secret, created_at) VALUES ($1, $2, clock_timestamp());

-- list_signing_keys --
-- The keys without their secrets, newest first.
SELECT kid, created_at, retired_at FROM signing_key ORDER BY created_at DESC, kid;
