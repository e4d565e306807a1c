-- Export of a tenant's fixes in short statements: no snapshot of it is old.

-- plan_each_time --
-- Plans every statement of the session for the days at hand: a plan for any day would look at every partition.
SELECT set_config('plan_cache_mode', 'force_custom_plan', false);

-- devices_of_span --
-- Devices of a tenant with rows that begin in the span of a partition, after a device, with the number of their fixes.
-- $1 tenant_id int, $2 from_at timestamptz, $3 before_at timestamptz, $4 after_device_id bigint
SELECT s.device_id, sum(s.fix_count)::bigint AS fixes
FROM (
    SELECT tenant_id, device_id, first_at, fix_count FROM track_segment
    UNION ALL
    SELECT tenant_id, device_id, first_at, fix_count FROM track_merged
) AS s
WHERE s.tenant_id = $1 AND s.first_at >= $2 AND s.first_at < $3 AND s.device_id > $4
GROUP BY s.device_id
ORDER BY s.device_id;

-- fixes --
-- Fixes of some devices in such a span, in the form that `fleetwire replay` reads and the units of the view `fix`.
-- $1 tenant_id int, $2 from_at timestamptz, $3 before_at timestamptz, $4 after_device_id bigint, $5 last_device_id bigint
SELECT
    d.name AS device,
    (extract(epoch FROM s.first_at) * 1000)::bigint + f.offset_millis AS ts_ms,
    f.lat_e7 / 1e7::float8 AS lat,
    f.lon_e7 / 1e7::float8 AS lon,
    (f.altitude_dm / 10::float8)::float4 AS alt_m,
    (f.speed_cmps / 100::float8)::float4 AS speed_mps,
    ((f.heading_cdeg + 36000) % 36000 / 100::float8)::float4 AS heading_deg,
    (f.accuracy_dm / 10::float8)::float4 AS accuracy_m,
    (f.battery_permille / 1000::float8)::float4 AS battery,
    s.received_at
FROM (
    SELECT * FROM (SELECT * FROM track_segment UNION ALL SELECT * FROM track_merged) AS every
    WHERE every.tenant_id = $1 AND every.first_at >= $2 AND every.first_at < $3
        AND every.device_id > $4 AND every.device_id <= $5
    ORDER BY every.device_id, every.first_at
) AS s
JOIN device AS d ON d.tenant_id = $1 AND d.device_id = s.device_id
CROSS JOIN LATERAL unnest(
    unpacked(s.offset_millis), unpacked(s.lat_e7), unpacked(s.lon_e7), unpacked(s.altitude_dm),
    s.speed_cmps, s.heading_cdeg, s.accuracy_dm, s.battery_permille
) AS f (offset_millis, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm, battery_permille);
