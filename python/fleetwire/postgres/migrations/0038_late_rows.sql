-- Look-ups of stored times by UTC day, in place of one from a device's oldest to its newest late fix, which read all of its
-- history for two fixes far apart. docs/adr/0023-bounded-late-work.md has the figures.

-- Rows that may hold fixes in these spans of milliseconds since 1970 UTC, both ends inclusive, each within one UTC day;
-- offset_millis is record_send(), but null for a full merged row with a fix every `step_millis`.
--
-- Days that follow each other are looked up together, in a statement whose bounds are constants to the planner: it opens
-- the partitions of those days and no others, of which each costs it about 0.1 ms. Within the statement a device's day is
-- one scan of the primary key: a row that overlaps a span begins at the earliest with the UTC day of the span. A nested loop
-- over the key is the only good plan; planner and statistics are not relied on for it (migrations 0003 and 0033).
--
-- Trackers send by the second, so that most full rows are regular: compared as bytes with what such a row looks like, they
-- need not be sent. array_send() takes 20 ns for each fix of a row, and 6 bytes on the wire.
CREATE FUNCTION late_rows(tenant_ids int[], device_ids bigint[], from_millis bigint[], to_millis bigint[])
RETURNS TABLE (
    tenant_id int, device_id bigint, first_at_millis bigint, fix_count int, step_millis bigint, offset_millis bytea
)
LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    day_millis constant bigint := 86400000;
    days_at_once constant bigint := 32;
    full_fixes constant int := 3600; -- of a merged row: FULL_FIXES in store/merging.py
    regular_steps constant int2[] := 0::int2 || array_fill(1::int2, ARRAY[full_fixes - 1]);
    near record;
BEGIN
    FOR near IN
        WITH device_day AS (
            SELECT
                s.tenant_id,
                s.device_id,
                s.from_millis / day_millis AS day,
                to_timestamp(max(s.to_millis) / 1000.0) AS to_at,
                range_agg(
                    tstzrange(to_timestamp(s.from_millis / 1000.0), to_timestamp(s.to_millis / 1000.0), '[]')
                ) AS spans
            FROM unnest(tenant_ids, device_ids, from_millis, to_millis)
                AS s (tenant_id, device_id, from_millis, to_millis)
            GROUP BY s.tenant_id, s.device_id, day
        ), numbered AS (
            SELECT *, day - dense_rank() OVER (ORDER BY day) AS island FROM device_day
        )
        SELECT
            array_agg(n.tenant_id) AS tenant_ids,
            array_agg(n.device_id) AS device_ids,
            array_agg(to_timestamp(n.day * 86400)) AS days,
            array_agg(n.to_at) AS tos,
            array_agg(n.spans) AS spans,
            to_timestamp(min(n.day) * 86400) AS earliest,
            max(n.to_at) AS latest
        FROM numbered AS n
        GROUP BY n.island, n.day / days_at_once
    LOOP
        RETURN QUERY EXECUTE
            'SELECT r.tenant_id, r.device_id, (extract(epoch FROM r.first_at) * 1000)::bigint, r.fix_count,
                CASE WHEN r.is_regular THEN (r.offset_millis).step::bigint END,
                CASE WHEN NOT r.is_regular THEN record_send(r.offset_millis) END
            FROM (
                SELECT t.tenant_id, t.device_id, t.first_at, t.fix_count, t.offset_millis,
                    CASE WHEN t.fix_count = $9
                        THEN t.offset_millis *= ROW(0, (t.offset_millis).step, $8, NULL)::packed_int4
                        ELSE false
                    END AS is_regular
                FROM (
                    SELECT t.tenant_id, t.device_id, t.first_at, t.fix_count, t.offset_millis
                    FROM unnest($1, $2, $3, $4, $5) AS s (tenant_id, device_id, day_at, to_at, spans)
                    JOIN track_segment AS t USING (tenant_id, device_id)
                    WHERE t.tenant_id = ANY ($1) AND t.device_id = ANY ($2) AND t.first_at BETWEEN $6 AND $7
                        AND t.first_at BETWEEN s.day_at AND s.to_at
                        AND s.spans && tstzrange(t.first_at, t.last_at, ''[]'')
                    UNION ALL
                    SELECT t.tenant_id, t.device_id, t.first_at, t.fix_count, t.offset_millis
                    FROM unnest($1, $2, $3, $4, $5) AS s (tenant_id, device_id, day_at, to_at, spans)
                    JOIN track_merged AS t USING (tenant_id, device_id)
                    WHERE t.tenant_id = ANY ($1) AND t.device_id = ANY ($2) AND t.first_at BETWEEN $6 AND $7
                        AND t.first_at BETWEEN s.day_at AND s.to_at
                        AND s.spans && tstzrange(t.first_at, t.last_at, ''[]'')
                ) AS t
                OFFSET 0
            ) AS r'
            USING near.tenant_ids, near.device_ids, near.days, near.tos, near.spans, near.earliest, near.latest,
                regular_steps, full_fixes;
    END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION late_rows FROM PUBLIC;
GRANT EXECUTE ON FUNCTION late_rows TO fleetwire_ingest;
