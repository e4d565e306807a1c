-- load_live --
-- Devices of every tenant with their live positions, for the live table: those that sent something since a time and
-- those that never did, since their names may be new; all when $1 is null. Needs a role that bypasses RLS.
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
WHERE $1::bigint IS NULL OR l.received_at IS NULL OR l.received_at >= to_timestamp($1::bigint / 1000.0);

-- load_live_of --
-- The same for one tenant: all its devices, or those that sent something since a time.
-- $1 tenant_id int, $2 since_millis bigint
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
WHERE l.tenant_id = $1 AND d.tenant_id = $1
    AND ($2::bigint IS NULL OR l.received_at >= to_timestamp($2::bigint / 1000.0));

-- settled --
-- Those of a tenant's devices that no transaction is moving right now, locked so that none begins before this one ends.
-- $1 tenant_id int, $2 device_ids int8[]
SELECT l.device_id
FROM live_position AS l
WHERE l.tenant_id = $1 AND l.device_id = ANY ($2::bigint[])
ORDER BY l.device_id
FOR SHARE SKIP LOCKED;

-- positions_of --
-- Some of a tenant's devices with their live positions, in the columns of load_live.
-- $1 tenant_id int, $2 device_ids int8[]
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
WHERE l.tenant_id = $1 AND l.device_id = ANY ($2::bigint[]);
