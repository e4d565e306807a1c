-- notify_outdated --
-- Tells every worker what was written: who tells, the tenant, and the tag of what rests on it.
-- $1 channel text, $2 payload text
SELECT pg_notify($1, $2);
