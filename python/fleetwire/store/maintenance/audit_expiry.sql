-- Retention of the audit log, which nobody but the database's owner may delete from.

-- tenants --
-- Every tenant, for retention.
SELECT tenant_id FROM tenant ORDER BY tenant_id;

-- delete_old --
-- Deletes some of a tenant's entries noted before a time, from the oldest on.
-- $1 tenant_id int, $2 before timestamptz, $3 limit_rows bigint
WITH oldest AS (
    SELECT audit_id FROM audit_log WHERE tenant_id = $1 ORDER BY audit_id LIMIT $3
), gone AS (
    DELETE FROM audit_log AS a USING oldest
    WHERE a.tenant_id = $1 AND a.audit_id = oldest.audit_id AND a.noted_at < $2
    RETURNING a.audit_id
)
SELECT count(*) FROM gone;
