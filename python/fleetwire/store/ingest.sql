-- A group commit: store_group alone, or lock_group, late_rows and store_group in one transaction if a batch reaches back.
-- partition_for goes before it, for one day at a time in a transaction of its own. Times are milliseconds since 1970 UTC.

-- ensure_days --
-- Makes sure that each of a few UTC days has a partition; cheap when it has.
-- $1 days date[]
SELECT count(*) FROM (SELECT ensure_partition(day) FROM unnest($1::date[]) AS day) AS done;

-- partition_for --
-- Makes sure that a UTC day has a partition, and says for which days that one is.
-- $1 day date
SELECT partition_for($1);

-- partition_names --
-- Partitions of track_segment that take rows.
SELECT c.relname::text AS name
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'track_segment'::regclass AND NOT i.inhdetachpending AND c.relname ~ '^track_segment_(d[0-9]{8}|m[0-9]{6})$';

-- lock_group --
-- Locks the live positions of these devices; their watermarks, ascending by key; null: no fix yet. Arrays as text.
-- $1 tenant_ids text, $2 device_ids text
SELECT array_agg((extract(epoch FROM last_fixed_at) * 1000)::bigint)
FROM lock_group($1::text::int[], $2::text::bigint[]);

-- free_devices --
-- Those of a tenant's devices whose live positions nobody keeps locked at this moment.
-- $1 tenant_id int, $2 device_ids bigint[]
SELECT device_id FROM live_position WHERE tenant_id = $1 AND device_id = ANY ($2) FOR UPDATE SKIP LOCKED;

-- late_rows --
-- Rows that may hold fixes in these spans, both ends inclusive, each within one UTC day.
-- $1 tenant_ids int[], $2 device_ids bigint[], $3 from_millis bigint[], $4 to_millis bigint[]
SELECT tenant_id, device_id, first_at_millis, fix_count, step_millis, offset_millis
FROM late_rows($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]);

-- limit_statements --
-- How long each further statement of the transaction may run, in milliseconds as text.
-- $1 statement_timeout_millis text
SELECT set_config('statement_timeout', $1, true);

-- row_types --
-- The numbers by which this database knows the types of rows, of arrays of them, and of packed columns.
SELECT
    s.oid AS track_segment, s.typarray AS track_segments, p.oid AS moved_position, p.typarray AS moved_positions,
    'packed_int4'::regtype::oid AS packed_int4
FROM pg_type AS s, pg_type AS p
WHERE s.oid = 'track_segment'::regtype AND p.oid = 'moved_position'::regtype;

-- store_group --
-- Stores a group whose devices have these watermarks and answers null; stores nothing and answers others they have.
-- $1 tenant_ids text, $2 device_ids text, $3 known_millis text, $4 segments track_segment[],
-- $5 positions moved_position[]
SELECT store_group($1::text::int[], $2::text::bigint[], $3::text::bigint[], $4, $5);
