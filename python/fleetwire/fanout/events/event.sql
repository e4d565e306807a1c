-- Events. Times are milliseconds since 1970 UTC.

-- next_seq --
-- Locks the tenant's counter until the transaction ends and moves it on.
-- $1 tenant_id int
INSERT INTO event_counter AS c (tenant_id, seq) VALUES ($1, 1)
ON CONFLICT (tenant_id) DO UPDATE SET seq = c.seq + 1
RETURNING seq;

-- give_back_seq --
-- Takes the last step of next_seq back; nobody has seen it, the row is still locked.
-- $1 tenant_id int
UPDATE event_counter SET seq = seq - 1 WHERE tenant_id = $1;

-- find_by_client_id --
-- The event that an actor has stored under an id of its own.
-- $1 tenant_id int, $2 actor text, $3 client_id text
SELECT seq, (extract(epoch FROM recorded_at) * 1000)::bigint AS recorded_millis
FROM event
WHERE tenant_id = $1 AND actor = $2 AND client_id = $3;

-- append --
-- Stores an event under the number that next_seq gave.
-- $1 tenant_id int, $2 seq int8, $3 room text, $4 kind text, $5 payload text, $6 actor text, $7 client_id text,
-- $8 occurred_millis int8, $9 recorded_millis int8
INSERT INTO event (tenant_id, seq, room, kind, payload, actor, client_id, occurred_at, recorded_at)
VALUES (
    $1, $2, $3, $4, $5::text::jsonb, $6, $7,
    to_timestamp($8::bigint / 1000.0), to_timestamp($9::bigint / 1000.0)
);

-- notify --
-- Tells every worker, at the commit, which tenant has a new event.
-- $1 channel text, $2 payload text
SELECT pg_notify($1, $2);

-- newest --
-- The numbers of a tenant's newest and of its oldest kept event; 0 and null where there is none.
-- $1 tenant_id int
SELECT
    coalesce((SELECT seq FROM event_counter WHERE tenant_id = $1), 0) AS newest,
    (SELECT seq FROM event WHERE tenant_id = $1 ORDER BY seq LIMIT 1) AS oldest;

-- page --
-- Events after a number in the order of their numbers; of some rooms, or of all when $3 is null.
-- $1 tenant_id int, $2 after_seq int8, $3 rooms text[], $4 limit_rows int8
SELECT
    seq, room, kind, payload::text AS payload, actor,
    (extract(epoch FROM occurred_at) * 1000)::bigint AS occurred_millis,
    (extract(epoch FROM recorded_at) * 1000)::bigint AS recorded_millis
FROM event
WHERE tenant_id = $1 AND seq > $2 AND ($3::text[] IS NULL OR room = ANY ($3))
ORDER BY seq
LIMIT $4;

-- tenants --
-- Every tenant that has had an event.
SELECT tenant_id FROM event_counter ORDER BY tenant_id;

-- delete_old --
-- Deletes some of a tenant's events recorded before a time, from the oldest on.
-- $1 tenant_id int, $2 before timestamptz, $3 limit_rows bigint
WITH oldest AS (
    SELECT seq FROM event WHERE tenant_id = $1 ORDER BY seq LIMIT $3
), gone AS (
    DELETE FROM event AS e USING oldest
    WHERE e.tenant_id = $1 AND e.seq = oldest.seq AND e.recorded_at < $2
    RETURNING e.seq
)
SELECT count(*) FROM gone;
