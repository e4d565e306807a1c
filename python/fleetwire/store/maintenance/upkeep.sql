-- try_lock --
-- Whether this session is the one that keeps the store up, until it ends. 'flw' in ASCII.
SELECT pg_try_advisory_lock(6712439, 4);

-- delete_ended_sessions --
-- Deletes the rows of logins that ended an hour ago or earlier. Until then who comes back is told what ended it.
DELETE FROM session WHERE least(expires_at, revoked_at) < now() - interval '1 hour';

-- load_jobs --
-- Every job that has run: where it goes on, since when its pass is under way, and since when the last one is complete.
SELECT
    name, place,
    extract(epoch FROM now() - began_at)::float8 AS under_way_secs,
    extract(epoch FROM now() - finished_at)::float8 AS finished_secs
FROM upkeep_job;

-- save_job --
-- Notes where a job goes on, and whether its pass is complete.
-- $1 name text, $2 place text, $3 is_complete bool
INSERT INTO upkeep_job AS j (name, place, began_at, finished_at)
VALUES ($1, $2, CASE WHEN $3 THEN NULL ELSE now() END, CASE WHEN $3 THEN now() END)
ON CONFLICT (name) DO UPDATE SET
    place = excluded.place,
    began_at = CASE WHEN $3 THEN NULL ELSE coalesce(j.began_at, now()) END,
    finished_at = CASE WHEN $3 THEN now() ELSE j.finished_at END;

-- delete_ended_credentials --
-- Deletes some tokens that expired or were revoked longer ago than so many days.
-- $1 days int, $2 limit_rows bigint
WITH ended AS (
    SELECT tenant_id, credential_id FROM credential
    WHERE least(expires_at, revoked_at) < now() - make_interval(days => $1)
    LIMIT $2
)
DELETE FROM credential AS c USING ended
WHERE c.tenant_id = ended.tenant_id AND c.credential_id = ended.credential_id;

-- delete_idle_order_devices --
-- Takes some devices from orders that were given to them longer ago than so many days, and names the orders.
-- $1 days int, $2 limit_rows bigint
WITH idle AS (
    SELECT o.tenant_id, o.order_name, o.device_id FROM order_device AS o
    WHERE o.assigned_at < now() - make_interval(days => $1)
    LIMIT $2
), gone AS (
    DELETE FROM order_device AS o USING idle
    WHERE o.tenant_id = idle.tenant_id AND o.order_name = idle.order_name AND o.device_id = idle.device_id
    RETURNING o.tenant_id, o.order_name
)
SELECT tenant_id, order_name, count(*) AS devices FROM gone GROUP BY tenant_id, order_name;
