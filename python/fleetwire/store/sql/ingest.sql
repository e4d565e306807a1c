-- A group commit: lock_group, late_segments if a batch reaches back, COPY, move_live, in one transaction.
-- ensure_days goes before it, in a transaction of its own. Times are milliseconds since 1970 UTC.

-- ensure_days --
-- Makes sure that each UTC day has a partition; cheap when it has.
-- $1 days date[]
SELECT count(*) FROM (SELECT ensure_partition(day) FROM unnest($1::date[]) AS day) AS done;

-- lock_group --
-- Locks the live positions of these devices; their watermarks, ascending by key; null: no fix yet. Arrays as text.
-- $1 tenant_ids text, $2 device_ids text
SELECT array_agg((extract(epoch FROM last_fixed_at) * 1000)::bigint)
FROM lock_group($1::text::int[], $2::text::bigint[]);

-- free_devices --
-- Those of a tenant's devices whose live positions nobody keeps locked at this moment.
-- $1 tenant_id int, $2 device_ids bigint[]
SELECT device_id FROM live_position WHERE tenant_id = $1 AND device_id = ANY ($2) FOR UPDATE SKIP LOCKED;

-- late_segments --
-- Stored times in these spans, both ends inclusive: every segment that overlaps one.
-- $1 tenant_ids int[], $2 device_ids bigint[], $3 from_millis bigint[], $4 to_millis bigint[]
SELECT tenant_id, device_id, first_at_millis, offset_millis
FROM late_segments($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]);

-- move_live --
-- Moves live positions forward; a row whose fix is not newer than the stored one stays. Each device at most once.
-- The arrays come as text, which the driver passes on as it is; $12 has each tenant once.
-- $1 tenant_ids text, $2 device_ids text, $3 fixed_at_millis text, $4 lat_e7 text, $5 lon_e7 text,
-- $6 altitude_dm text, $7 speed_cmps text, $8 heading_cdeg text, $9 accuracy_dm text,
-- $10 battery_permille text, $11 received_at_millis bigint, $12 tenants int[]
UPDATE live_position AS l
SET
    last_fixed_at = to_timestamp(m.fixed_at_millis / 1000.0),
    lat_e7 = m.lat_e7,
    lon_e7 = m.lon_e7,
    altitude_dm = m.altitude_dm,
    speed_cmps = m.speed_cmps,
    heading_cdeg = m.heading_cdeg,
    accuracy_dm = m.accuracy_dm,
    battery_permille = m.battery_permille,
    received_at = to_timestamp($11::bigint / 1000.0)
FROM unnest(
    $1::text::int[], $2::text::bigint[], $3::text::bigint[], $4::text::int[], $5::text::int[], $6::text::int[],
    $7::text::int2[], $8::text::int2[], $9::text::int2[], $10::text::int2[]
) AS m (
    tenant_id, device_id, fixed_at_millis, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm,
    battery_permille
)
WHERE l.tenant_id = m.tenant_id
    AND l.device_id = m.device_id
    AND l.tenant_id = ANY ($12::int[])
    AND (l.last_fixed_at IS NULL OR l.last_fixed_at < to_timestamp(m.fixed_at_millis / 1000.0));
