-- tenant_names --
-- Names of tenants by their numbers; one without a row was erased, or is not in the backup that was put back.
-- $1 tenant_ids int[]
SELECT tenant_id, name FROM tenant WHERE tenant_id = ANY ($1);

-- probe_store --
-- Commits a small write, to find out whether the database stores. Nothing is written while another worker does so.
UPDATE store_probe SET probed_at = now()
WHERE slot = (SELECT slot FROM store_probe LIMIT 1 FOR UPDATE SKIP LOCKED);
