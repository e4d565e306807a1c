-- What keeps PostgreSQL from removing row versions that nobody sees.

-- old_snapshots --
-- Holders of old snapshots, the oldest first; `held_secs` is null where the server does not say. VACUUM holds nothing back.
SELECT held.kind, held.name, held.xmin::text AS xmin, held.held_secs, held.application
FROM (
    SELECT
        'session' AS kind, a.pid::text AS name,
        CASE
            WHEN a.backend_xmin IS NULL THEN a.backend_xid
            WHEN a.backend_xid IS NULL OR age(a.backend_xmin) >= age(a.backend_xid) THEN a.backend_xmin
            ELSE a.backend_xid
        END AS xmin,
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS held_secs,
        a.application_name AS application
    FROM pg_stat_activity AS a
    WHERE (a.datname = current_database() OR a.datname IS NULL)
        AND a.pid <> pg_backend_pid()
        AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS v WHERE v.pid = a.pid)
    UNION ALL
    SELECT 'prepared transaction', p.gid, p.transaction, extract(epoch FROM clock_timestamp() - p.prepared)::float8, ''
    FROM pg_prepared_xacts AS p
    WHERE p.database = current_database()
    UNION ALL
    SELECT 'replication slot', r.slot_name::text, r.xmin, NULL, ''
    FROM pg_replication_slots AS r
) AS held
WHERE held.xmin IS NOT NULL
ORDER BY age(held.xmin) DESC
LIMIT 20;

-- sees_sessions --
-- Whether this role is shown the transactions of all sessions.
SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE');
