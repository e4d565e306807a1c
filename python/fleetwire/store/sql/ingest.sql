-- A group commit: lock_group, late_segments if a batch reaches back, COPY, move_live, in one transaction.
-- ensure_days goes before it, in a transaction of its own. Times are milliseconds since 1970 UTC.

-- ensure_days --
-- Makes sure that each UTC day has a partition; cheap when it has.
-- $1 days date[]
SELECT count(*) FROM (SELECT ensure_partition(day) FROM unnest($1::date[]) AS day) AS done;

-- lock_group --
-- Locks the live positions of these devices and reads their watermarks, ascending by key; null: no fix yet.
-- $1 tenant_ids int[], $2 device_ids bigint[]
SELECT tenant_id, device_id, (extract(epoch FROM last_fixed_at) * 1000)::bigint AS last_fixed_millis
FROM lock_group($1::int[], $2::bigint[]);

-- late_segments --
-- Stored times in these spans, both ends inclusive: every segment that overlaps one.
-- $1 tenant_ids int[], $2 device_ids bigint[], $3 from_millis bigint[], $4 to_millis bigint[]
SELECT tenant_id, device_id, first_at_millis, offset_millis
FROM late_segments($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]);

-- move_live --
-- Moves live positions forward; a row whose fix is not newer than the stored one stays. Each device at most once.
-- $1 tenant_ids int[], $2 device_ids bigint[], $3 fixed_at_millis bigint[], $4 lat_e7 int[], $5 lon_e7 int[],
-- $6 altitude_dm int[], $7 speed_cmps int2[], $8 heading_cdeg int2[], $9 accuracy_dm int2[],
-- $10 battery_permille int2[], $11 received_at_millis bigint
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
    $1::int[], $2::bigint[], $3::bigint[], $4::int[], $5::int[], $6::int[], $7::int2[], $8::int2[], $9::int2[],
    $10::int2[]
) AS m (
    tenant_id, device_id, fixed_at_millis, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm,
    battery_permille
)
WHERE l.tenant_id = m.tenant_id
    AND l.device_id = m.device_id
    AND l.tenant_id = ANY ($1::int[])
    AND (l.last_fixed_at IS NULL OR l.last_fixed_at < to_timestamp(m.fixed_at_millis / 1000.0));
