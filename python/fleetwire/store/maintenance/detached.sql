-- Partitions of tracks that are detached, or half detached, after a removal that was interrupted.

-- unsettled --
-- Tables that are or were partitions and whose rows nobody sees; is_pending: it is half detached.
SELECT c.relname::text AS name, i.inhparent IS NOT NULL AS is_pending
FROM pg_class AS c
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE c.relkind = 'r'
    AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'track_segment'::regclass)
    AND c.relname ~ '^track_(segment|merged)_(d[0-9]{8}|m[0-9]{6})$'
    AND coalesce(i.inhdetachpending, true)
ORDER BY c.relname;

-- is_in_use --
-- Whether a removal from this table would have to wait: for a transaction of more than a second ago that has a snapshot,
-- as that of pg_dump, or has used the table.
-- $1 parent text
SELECT EXISTS (
    SELECT FROM pg_stat_activity AS a
    WHERE a.datname = current_database()
        AND a.pid <> pg_backend_pid()
        AND a.xact_start < clock_timestamp() - interval '1 second'
        AND (
            a.backend_xmin IS NOT NULL
            OR EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND l.relation = $1::text::regclass)
        )
);

-- be_quick --
-- The rest of the transaction waits for no lock for long: others who make partitions wait for this one.
SELECT set_config('lock_timeout', '500ms', true);
