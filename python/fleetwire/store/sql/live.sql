-- load_live --
-- Every device of every tenant with its live position, to warm the live table at start; needs a role that bypasses RLS.
SELECT
    l.tenant_id,
    l.device_id,
    d.name,
    (extract(epoch FROM l.last_fixed_at) * 1000)::bigint AS fixed_at_millis,
    l.lat_e7,
    l.lon_e7,
    l.altitude_dm,
    l.speed_cmps,
    l.heading_cdeg,
    l.accuracy_dm,
    l.battery_permille
FROM live_position AS l
JOIN device AS d USING (tenant_id, device_id);

-- load_live_since --
-- The same of devices that sent something since a time, and of those that never did: their names may be new.
-- $1 since_millis bigint
SELECT
    l.tenant_id,
    l.device_id,
    d.name,
    (extract(epoch FROM l.last_fixed_at) * 1000)::bigint AS fixed_at_millis,
    l.lat_e7,
    l.lon_e7,
    l.altitude_dm,
    l.speed_cmps,
    l.heading_cdeg,
    l.accuracy_dm,
    l.battery_permille
FROM live_position AS l
JOIN device AS d USING (tenant_id, device_id)
WHERE l.received_at IS NULL OR l.received_at >= to_timestamp($1::bigint / 1000.0);

-- own_position --
-- One device with its live position, in the columns of load_live.
-- $1 tenant_id int, $2 device_id bigint
SELECT
    l.tenant_id,
    l.device_id,
    d.name,
    (extract(epoch FROM l.last_fixed_at) * 1000)::bigint AS fixed_at_millis,
    l.lat_e7,
    l.lon_e7,
    l.altitude_dm,
    l.speed_cmps,
    l.heading_cdeg,
    l.accuracy_dm,
    l.battery_permille
FROM live_position AS l
JOIN device AS d USING (tenant_id, device_id)
WHERE l.tenant_id = $1 AND l.device_id = $2;
