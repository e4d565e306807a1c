-- open --
-- Begins a session.
-- $1 tenant_id int, $2 session_id uuid, $3 user_id bigint, $4 life_secs int, $5 family_hash bytea, $6 refresh_hash bytea, $7 address text, $8 user_agent text
INSERT INTO session
    (tenant_id, session_id, user_id, expires_at, family_hash, refresh_hash, refreshed_at, address, user_agent)
VALUES ($1, $2, $3, now() + $4::int * interval '1 second', $5, $6, now(), $7, $8)
RETURNING expires_at;

-- lock_refreshed --
-- A session that is to be refreshed, with its user as they are at this moment; others who refresh it wait.
-- $1 tenant_id int, $2 session_id uuid, $3 grace_secs int
SELECT
    s.user_id, s.expires_at, s.revoked_at IS NOT NULL AS revoked, s.expires_at <= now() AS expired,
    s.family_hash, s.refresh_hash, s.previous_hash, s.address, s.user_agent,
    s.refreshed_at > clock_timestamp() - $3::int * interval '1 second' AS just_refreshed,
    u.name AS user_name, u.role, u.status AS user_status, t.name AS tenant, t.status AS tenant_status
FROM session AS s
JOIN app_user AS u USING (tenant_id, user_id)
JOIN tenant AS t USING (tenant_id)
WHERE s.tenant_id = $1 AND s.session_id = $2
FOR UPDATE OF s;

-- rotate --
-- Replaces a session's refresh token, notes from where, and moves the session's end unless life_secs is null.
-- $1 tenant_id int, $2 session_id uuid, $3 refresh_hash bytea, $4 life_secs int, $5 address text, $6 user_agent text
UPDATE session
SET
    refresh_hash = $3,
    previous_hash = refresh_hash,
    refreshed_at = clock_timestamp(),
    address = $5,
    user_agent = $6,
    expires_at = coalesce(now() + $4::int * interval '1 second', expires_at)
WHERE tenant_id = $1 AND session_id = $2
RETURNING expires_at;

-- list_of_user --
-- A user's sessions that still live, newest first.
-- $1 tenant_id int, $2 user_id bigint
SELECT session_id, created_at, coalesce(refreshed_at, created_at) AS refreshed_at, expires_at, address, user_agent
FROM session
WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > now()
ORDER BY created_at DESC, session_id;

-- end --
-- Ends a session that still lives and returns whose it was; user_id null for whoever's.
-- $1 tenant_id int, $2 session_id uuid, $3 user_id bigint
UPDATE session AS s SET revoked_at = now()
FROM app_user AS u
WHERE s.tenant_id = $1 AND s.session_id = $2 AND s.revoked_at IS NULL AND s.expires_at > now()
    AND ($3::bigint IS NULL OR s.user_id = $3)
    AND u.tenant_id = $1 AND u.user_id = s.user_id
RETURNING u.name AS user_name;
