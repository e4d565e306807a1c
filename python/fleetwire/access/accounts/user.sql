-- page --
-- The users of a tenant by name; after_name null begins with the first.
-- $1 tenant_id int, $2 after_name text, $3 most bigint
SELECT
    u.user_id, u.name, u.display_name, u.role, u.status, d.name AS device, u.created_at,
    u.password_hash IS NOT NULL AS has_password
FROM app_user AS u
LEFT JOIN device AS d USING (tenant_id, device_id)
WHERE u.tenant_id = $1 AND ($2::text IS NULL OR u.name > $2)
ORDER BY u.name
LIMIT $3;

-- find --
-- A user by name.
-- $1 tenant_id int, $2 name text
SELECT
    u.user_id, u.name, u.display_name, u.role, u.status, d.name AS device, u.created_at,
    u.password_hash IS NOT NULL AS has_password
FROM app_user AS u
LEFT JOIN device AS d USING (tenant_id, device_id)
WHERE u.tenant_id = $1 AND u.name = $2;

-- lock --
-- A user by name, for a change; other changes of it wait.
-- $1 tenant_id int, $2 name text
SELECT user_id, role, status, device_id FROM app_user WHERE tenant_id = $1 AND name = $2 FOR UPDATE;

-- create --
-- Creates a user; no row when the name is taken.
-- $1 tenant_id int, $2 name text, $3 role text, $4 password_hash text, $5 device_id bigint, $6 display_name text
INSERT INTO app_user (tenant_id, name, role, password_hash, device_id, display_name) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, name) DO NOTHING
RETURNING user_id;

-- change --
-- Gives a user another role, status, device and, unless null, password.
-- $1 tenant_id int, $2 user_id bigint, $3 role text, $4 status text, $5 device_id bigint, $6 password_hash text
UPDATE app_user SET role = $3, status = $4, device_id = $5, password_hash = coalesce($6, password_hash)
WHERE tenant_id = $1 AND user_id = $2;

-- other_admins --
-- How many further active admins the tenant has; they stay as they are until the transaction ends.
-- $1 tenant_id int, $2 user_id bigint
SELECT user_id FROM app_user
WHERE tenant_id = $1 AND user_id <> $2 AND role = 'admin' AND status = 'active'
ORDER BY user_id
FOR UPDATE;

-- password_hash --
-- What a user's password is verified against; null for a user without one.
-- $1 tenant_id int, $2 user_id bigint
SELECT password_hash FROM app_user WHERE tenant_id = $1 AND user_id = $2;

-- replace_password --
-- Replaces a password that is still the one that was verified; no row when it is not.
-- $1 tenant_id int, $2 user_id bigint, $3 old_hash text, $4 new_hash text
UPDATE app_user SET password_hash = $4 WHERE tenant_id = $1 AND user_id = $2 AND password_hash = $3
RETURNING user_id;

-- revoke_other_sessions --
-- Ends every session of a user that still lives, but one.
-- $1 tenant_id int, $2 user_id bigint, $3 session_id uuid
UPDATE session SET revoked_at = now()
WHERE tenant_id = $1 AND user_id = $2 AND session_id <> $3 AND revoked_at IS NULL AND expires_at > now()
RETURNING session_id;
