-- try_lock --
-- Whether this session is the one that keeps the store up, until it ends. 'flw' in ASCII.
SELECT pg_try_advisory_lock(6712439, 4);

-- delete_ended_sessions --
-- Deletes the rows of logins that ended an hour ago or earlier. Until then who comes back is told what ended it.
DELETE FROM session WHERE least(expires_at, revoked_at) < now() - interval '1 hour';
