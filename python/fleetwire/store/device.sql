-- find_devices --
-- Ids of the devices with these names; a name without a row is unknown.
-- $1 tenant_id int, $2 names text[]
SELECT device_id, name FROM device WHERE tenant_id = $1 AND name = ANY ($2);

-- create_devices --
-- Creates what is missing among these names and returns all that exist then; a name without a row is beyond the
-- tenant's device limit. In a transaction of its own: it locks the tenant's row.
-- $1 tenant_id int, $2 names text[]
SELECT device_id, name FROM create_devices($1, $2);

-- list_devices --
-- A page of a tenant's devices in the order of their names, after the name $2 ('' for the first page).
-- $1 tenant_id int, $2 after_name text, $3 limit_rows int8
SELECT d.device_id, d.name, d.created_at, l.last_fixed_at, l.received_at
FROM device AS d
JOIN live_position AS l USING (tenant_id, device_id)
WHERE d.tenant_id = $1 AND l.tenant_id = $1 AND d.name > $2
ORDER BY d.name
LIMIT $3;

-- all_devices --
-- A tenant's devices in the order of their names, with the newest fix of each.
-- $1 tenant_id int
SELECT d.name, d.created_at, l.last_fixed_at, l.received_at
FROM device AS d
LEFT JOIN live_position AS l USING (tenant_id, device_id)
WHERE d.tenant_id = $1
ORDER BY d.name;

-- driver_of --
-- The name of a driver whose device it is.
-- $1 tenant_id int, $2 device_id bigint
SELECT name FROM app_user WHERE tenant_id = $1 AND device_id = $2 ORDER BY name LIMIT 1;

-- revoke_credentials --
-- Revokes the tokens of a device and returns what each is known by.
-- $1 tenant_id int, $2 device_id bigint
UPDATE credential SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND device_id = $2
RETURNING encode(token_hash, 'hex') AS key;

-- delete_track --
-- Deletes some segments of a device in a partition of either table, named in place of track_segment, and says how many
-- fixes they had.
-- $1 tenant_id int, $2 device_id bigint, $3 limit_rows bigint
WITH chosen AS (
    SELECT first_at FROM ONLY track_segment WHERE tenant_id = $1 AND device_id = $2 LIMIT $3
), gone AS (
    DELETE FROM ONLY track_segment AS s USING chosen
    WHERE s.tenant_id = $1 AND s.device_id = $2 AND s.first_at = chosen.first_at
    RETURNING s.fix_count
)
SELECT count(*) AS segments, coalesce(sum(fix_count), 0)::bigint AS fixes FROM gone;

-- remove --
-- Deletes a device with its live position, its tokens and its places in orders, and counts that for its tenant.
-- $1 tenant_id int, $2 device_id bigint
WITH gone AS (
    DELETE FROM device WHERE tenant_id = $1 AND device_id = $2 RETURNING tenant_id
)
UPDATE tenant AS t SET device_removals = device_removals + 1 FROM gone WHERE t.tenant_id = gone.tenant_id;
