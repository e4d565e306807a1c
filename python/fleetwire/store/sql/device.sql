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
