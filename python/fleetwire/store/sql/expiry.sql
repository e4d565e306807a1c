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

-- delete_segments --
-- Deletes some of a tenant's segments that lie wholly before a time, and says how many fixes they had.
-- $1 tenant_id int, $2 before timestamptz, $3 limit_rows bigint
WITH old AS (
    SELECT device_id, first_at FROM track_segment WHERE tenant_id = $1 AND first_at < $2 AND last_at < $2 LIMIT $3
), gone AS (
    DELETE FROM track_segment AS s USING old
    WHERE s.tenant_id = $1 AND s.first_at < $2 AND s.device_id = old.device_id AND s.first_at = old.first_at
    RETURNING s.fix_count
)
SELECT count(*) AS segments, coalesce(sum(fix_count), 0)::bigint AS fixes FROM gone;

-- delete_merged --
-- The same for merged segments.
-- $1 tenant_id int, $2 before timestamptz, $3 limit_rows bigint
WITH old AS (
    SELECT device_id, first_at FROM track_merged WHERE tenant_id = $1 AND first_at < $2 AND last_at < $2 LIMIT $3
), gone AS (
    DELETE FROM track_merged AS s USING old
    WHERE s.tenant_id = $1 AND s.first_at < $2 AND s.device_id = old.device_id AND s.first_at = old.first_at
    RETURNING s.fix_count
)
SELECT count(*) AS segments, coalesce(sum(fix_count), 0)::bigint AS fixes FROM gone;
