-- Retention. Times are the ends of spans: what lies wholly before them goes.

-- database_millis --
-- What time it is by the database's clock, in milliseconds since 1970.
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- tenants --
-- Every tenant with the days it keeps its fixes; null: as the server's setting says.
SELECT tenant_id, retention_days FROM tenant ORDER BY tenant_id;

-- own_retentions --
-- Tenants that do not keep their fixes as long as the server's setting says.
SELECT tenant_id, retention_days FROM tenant WHERE retention_days IS NOT NULL;

-- partitions --
-- Partitions of both tables of tracks, and tables that were partitions until a removal was interrupted.
SELECT c.relname::text AS name, i.inhparent IS NOT NULL AS is_attached, coalesce(i.inhdetachpending, false) AS is_pending
FROM pg_class AS c
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE c.relkind = 'r'
    AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'track_segment'::regclass)
    AND c.relname ~ '^track_(segment|merged)_(d[0-9]{8}|m[0-9]{6})$'
ORDER BY c.relname;

-- delete_expired --
-- Deletes some segments of a partition that lie wholly before their tenants' times, and says how many fixes they had.
-- Whoever runs it puts the name of a partition, of either table, in place of track_segment.
-- $1 tenant_ids int[], $2 befores timestamptz[], $3 limit_rows bigint
WITH expired AS (
    SELECT s.ctid FROM ONLY track_segment AS s
    JOIN unnest($1::int[], $2::timestamptz[]) AS t (tenant_id, before) ON t.tenant_id = s.tenant_id
    WHERE s.first_at < t.before AND s.last_at < t.before
    LIMIT $3
), gone AS (
    DELETE FROM ONLY track_segment WHERE ctid = ANY (ARRAY(SELECT ctid FROM expired)) RETURNING fix_count
)
SELECT count(*) AS segments, coalesce(sum(fix_count), 0)::bigint AS fixes FROM gone;
