-- list_tenants --
-- Every tenant with what it has.
SELECT
    t.tenant_id, t.name, t.status, t.device_limit, t.retention_days, t.created_at,
    (SELECT count(*) FROM device AS d WHERE d.tenant_id = t.tenant_id) AS devices
FROM tenant AS t
ORDER BY t.name;

-- find_tenant --
-- A tenant's number and retention by its name.
-- $1 name text
SELECT tenant_id, retention_days FROM tenant WHERE name = $1;

-- set_retention --
-- How many days a tenant keeps its fixes; null as the server's setting says, 0 for ever. No row: no such tenant.
-- $1 name text, $2 retention_days int
UPDATE tenant SET retention_days = $2 WHERE name = $1 RETURNING tenant_id;

-- tables --
-- Tables with rows of tenants, but for the tenant's own and the tracks, with the columns that hold no secret.
SELECT c.relname::text AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'tenant'::regclass)
    AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
    AND c.relname NOT IN ('tenant', 'track_segment', 'track_merged')
    AND EXISTS (SELECT FROM pg_attribute AS t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped)
    AND a.attnum > 0
    AND NOT a.attisdropped
    AND a.attname !~ '(hash|secret)'
GROUP BY c.relname
ORDER BY c.relname;

-- references --
-- Which table refers to which other one.
SELECT DISTINCT child.relname::text AS child, parent.relname::text AS parent
FROM pg_constraint AS k
JOIN pg_class AS child ON child.oid = k.conrelid
JOIN pg_class AS parent ON parent.oid = k.confrelid
WHERE k.contype = 'f' AND k.conrelid <> k.confrelid;

-- set_status --
-- Suspends a tenant or lets it in again; no row: no such tenant.
-- $1 name text, $2 status text
UPDATE tenant SET status = $2 WHERE name = $1 RETURNING tenant_id;

-- suspend --
-- Nobody of the tenant is let in any more.
-- $1 tenant_id int
UPDATE tenant SET status = 'suspended' WHERE tenant_id = $1;

-- revoke_credentials --
-- Revokes every credential of a tenant and returns what each is known by.
-- $1 tenant_id int
UPDATE credential SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1
RETURNING encode(token_hash, 'hex') AS key;

-- revoke_sessions --
-- Ends every session of a tenant and returns what each is known by.
-- $1 tenant_id int
UPDATE session SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1
RETURNING replace(session_id::text, '-', '') AS key;

-- delete_tenant --
-- Deletes a tenant that nothing belongs to any more.
-- $1 tenant_id int
DELETE FROM tenant WHERE tenant_id = $1;

-- notify_erased --
-- Tells every worker, at the commit, that a tenant is no more.
-- $1 channel text, $2 payload text
SELECT pg_notify($1, $2);

-- existing --
-- Those of some tenants that there are, and how often devices of each were removed.
-- $1 tenant_ids int[]
SELECT tenant_id, device_removals FROM tenant WHERE tenant_id = ANY ($1::int[]);
