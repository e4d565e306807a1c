-- Merging. A device's segments are deleted, read by that, and written again while its live position is locked, in one
-- transaction: lock_group, segment_keys, merged_keys, take_segments and take_merged, COPY, count_merge. Whoever runs a
-- statement puts the name of a partition in place of track_segment or track_merged, so that no other is planned over.

-- read_in_order --
-- For the rest of the transaction a page of keys is read from the index, in order, and not sorted out of the whole.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_hashagg', 'off', true);

-- be_brief --
-- The transaction waits no longer than this for a device that is being written to, and not for the disk at its end: a
-- merge that is lost in a crash is made again, and a later commit that relies on it takes it along.
-- $1 lock_timeout text
SELECT set_config('lock_timeout', $1, true), set_config('synchronous_commit', 'off', true);

-- partitions_in_use --
-- Partitions of track_segment that take up space: an empty one has no heap and an index of a page or two.
SELECT c.relname::text AS name
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'track_segment'::regclass
    AND NOT i.inhdetachpending
    AND (pg_relation_size(c.oid) > 0 OR pg_indexes_size(c.oid) > 65536)
ORDER BY c.relname;

-- ensure_merged_partition --
-- The partition of track_merged for the span of a partition of track_segment.
-- $1 segment_partition text
SELECT ensure_merged_partition($1);

-- to_merge --
-- A page of the devices of a partition after a device in the order of the keys, and whether the segments of each that
-- begin in a span are worth merging and were all received before a time. The devices are found by one step in the index
-- for each, and the first 128 segments tell: so many have 8 small ones or 1,800 fixes, if all have.
-- $1 from_at timestamptz, $2 to_at timestamptz, $3 after_tenant_id int, $4 after_device_id bigint,
-- $5 least_fixes bigint, $6 least_small bigint, $7 small_fixes int, $8 quiet_since timestamptz, $9 limit_rows bigint
WITH RECURSIVE found AS (
    (
        SELECT tenant_id, device_id FROM ONLY track_segment
        WHERE (tenant_id, device_id) > ($3, $4)
        ORDER BY tenant_id, device_id LIMIT 1
    )
    UNION ALL
    SELECT later.tenant_id, later.device_id
    FROM found AS f
    CROSS JOIN LATERAL (
        SELECT s.tenant_id, s.device_id FROM ONLY track_segment AS s
        WHERE (s.tenant_id, s.device_id) > (f.tenant_id, f.device_id)
        ORDER BY s.tenant_id, s.device_id LIMIT 1
    ) AS later
), page AS MATERIALIZED (
    SELECT tenant_id, device_id FROM found LIMIT $9
)
SELECT p.tenant_id, p.device_id, (
    SELECT sum(first.fix_count) >= $5 OR count(*) FILTER (WHERE first.fix_count < $7) >= $6
    FROM (
        SELECT s.fix_count FROM ONLY track_segment AS s
        WHERE s.tenant_id = p.tenant_id AND s.device_id = p.device_id AND s.first_at >= $1 AND s.first_at < $2
        ORDER BY s.first_at LIMIT 128
    ) AS first
) AND ($8 > now() OR NOT EXISTS (
    SELECT FROM ONLY track_segment AS s
    WHERE s.tenant_id = p.tenant_id AND s.device_id = p.device_id AND s.first_at >= $1 AND s.first_at < $2
        AND s.received_at >= $8
)) AS is_due
FROM page AS p;

-- lock_device --
-- Locks the live position of a device, as every writer does; no row: the device is gone.
-- $1 tenant_ids int[], $2 device_ids bigint[]
SELECT device_id FROM lock_group($1::int[], $2::bigint[]);

-- segment_keys --
-- The segments of a device that begin in a span, in order of time.
-- $1 tenant_id int, $2 device_id bigint, $3 from_at timestamptz, $4 to_at timestamptz, $5 limit_rows bigint
SELECT first_at, fix_count
FROM ONLY track_segment
WHERE tenant_id = $1 AND device_id = $2 AND first_at >= $3 AND first_at < $4
ORDER BY first_at
LIMIT $5;

-- merged_keys --
-- The same for its merged segments.
-- $1 tenant_id int, $2 device_id bigint, $3 from_at timestamptz, $4 to_at timestamptz, $5 limit_rows bigint
SELECT first_at, fix_count
FROM ONLY track_merged
WHERE tenant_id = $1 AND device_id = $2 AND first_at >= $3 AND first_at < $4
ORDER BY first_at
LIMIT $5;

-- take_segments --
-- Deletes a device's segments from one to another that have fewer fixes than a number, and returns them as the core
-- merges them.
-- $1 tenant_id int, $2 device_id bigint, $3 from_at timestamptz, $4 last_at timestamptz, $5 below_fixes int
DELETE FROM ONLY track_segment
WHERE tenant_id = $1 AND device_id = $2 AND first_at >= $3 AND first_at <= $4 AND fix_count < $5
RETURNING
    (extract(epoch FROM first_at) * 1000)::bigint AS first_at_millis,
    (extract(epoch FROM received_at) * 1000)::bigint AS received_at_millis,
    record_send(offset_millis) AS offset_millis,
    record_send(lat_e7) AS lat_e7,
    record_send(lon_e7) AS lon_e7,
    record_send(altitude_dm) AS altitude_dm,
    array_send(speed_cmps) AS speed_cmps,
    array_send(heading_cdeg) AS heading_cdeg,
    array_send(accuracy_dm) AS accuracy_dm,
    array_send(battery_permille) AS battery_permille;

-- take_merged --
-- The same for merged segments, by their keys.
-- $1 tenant_id int, $2 device_id bigint, $3 first_ats timestamptz[]
DELETE FROM ONLY track_merged
WHERE tenant_id = $1 AND device_id = $2 AND first_at = ANY ($3)
RETURNING
    (extract(epoch FROM first_at) * 1000)::bigint AS first_at_millis,
    (extract(epoch FROM received_at) * 1000)::bigint AS received_at_millis,
    record_send(offset_millis) AS offset_millis,
    record_send(lat_e7) AS lat_e7,
    record_send(lon_e7) AS lon_e7,
    record_send(altitude_dm) AS altitude_dm,
    array_send(speed_cmps) AS speed_cmps,
    array_send(heading_cdeg) AS heading_cdeg,
    array_send(accuracy_dm) AS accuracy_dm,
    array_send(battery_permille) AS battery_permille;

-- count_merge --
-- Tells readers that are between two pages of the device's track.
-- $1 tenant_id int, $2 device_id bigint
UPDATE live_position SET merge_count = merge_count + 1 WHERE tenant_id = $1 AND device_id = $2;
