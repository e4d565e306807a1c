-- Look-ups of a live position visit a bounded number of its versions, also beside a snapshot that keeps PostgreSQL from
-- removing those that nobody sees. docs/adr/0025-rotated-live-positions.md has the figures.

-- Every 32nd move of a row changes its key, so that the newest versions come first when the key is read backward, and at
-- most 32 of them have the same key. A key is checked for uniqueness only against versions of its own rotation: of the
-- primary key of before, each move to another page read all versions.
ALTER TABLE live_position
    ADD COLUMN rotation int NOT NULL DEFAULT 0,
    ADD COLUMN moves_in_rotation int2 NOT NULL DEFAULT 0;
ALTER TABLE live_position DROP CONSTRAINT live_position_pkey;
ALTER TABLE live_position ADD CONSTRAINT live_position_pkey PRIMARY KEY (tenant_id, device_id, rotation);

-- Locks the live positions of a group's devices and reads their watermarks, which stay true until the transaction ends.
-- Rows are locked in the order of the key, as the devices are sorted before.
--
-- Each device is one step in the index, whatever the planner believes of a table that has grown since: reading all of it,
-- or all versions of a device, is what must not happen.
CREATE OR REPLACE FUNCTION lock_group(tenant_ids int[], device_ids bigint[])
RETURNS TABLE (tenant_id int, device_id bigint, last_fixed_at timestamptz)
LANGUAGE sql
SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT l.tenant_id, l.device_id, l.last_fixed_at
    FROM (
        SELECT * FROM unnest(tenant_ids, device_ids) AS u (tenant_id, device_id)
        ORDER BY u.tenant_id, u.device_id
    ) AS g
    CROSS JOIN LATERAL (
        SELECT p.tenant_id, p.device_id, p.last_fixed_at
        FROM live_position AS p
        WHERE p.tenant_id = g.tenant_id AND p.device_id = g.device_id
        ORDER BY p.rotation DESC
        LIMIT 1
        FOR UPDATE
    ) AS l
$$;

-- Stores a group, as before. The whole key of each locked row is known, so that the update reads the versions of its
-- rotation alone. The lock is that of lock_group, which is a function that would be planned for each group; committers have
-- the same planner settings for their sessions (`postgres/pinned_connection.py`). Positions mostly come in the order of the key, one for each device; one in another place is looked up.
CREATE OR REPLACE FUNCTION store_group(
    tenant_ids int[], device_ids bigint[], known_millis bigint[], segments track_segment[], positions moved_position[]
) RETURNS bigint[]
LANGUAGE plpgsql
AS $$
DECLARE
    newest_millis bigint[];
    locked_tenants int[];
    locked_devices bigint[];
    rotations int[];
    max_moves constant int := 31;
BEGIN
    SELECT
        array_agg((extract(epoch FROM l.last_fixed_at) * 1000)::bigint),
        array_agg(l.tenant_id), array_agg(l.device_id), array_agg(l.rotation)
    INTO newest_millis, locked_tenants, locked_devices, rotations
    FROM (
        SELECT * FROM unnest(tenant_ids, device_ids) AS u (tenant_id, device_id)
        ORDER BY u.tenant_id, u.device_id
    ) AS g
    CROSS JOIN LATERAL (
        SELECT v.tenant_id, v.device_id, v.last_fixed_at, v.rotation
        FROM live_position AS v
        WHERE v.tenant_id = g.tenant_id AND v.device_id = g.device_id
        ORDER BY v.rotation DESC
        LIMIT 1
        FOR UPDATE
    ) AS l;
    newest_millis := coalesce(newest_millis, '{}');
    IF newest_millis IS DISTINCT FROM known_millis THEN
        RETURN newest_millis;
    END IF;
    INSERT INTO track_segment SELECT * FROM unnest(segments);
    -- Each device at most once. A row whose fix is not newer than the stored one stays.
    UPDATE live_position AS l
    SET
        last_fixed_at = p.fixed_at,
        lat_e7 = p.lat_e7,
        lon_e7 = p.lon_e7,
        altitude_dm = p.altitude_dm,
        speed_cmps = p.speed_cmps,
        heading_cdeg = p.heading_cdeg,
        accuracy_dm = p.accuracy_dm,
        battery_permille = p.battery_permille,
        received_at = p.received_at,
        rotation = CASE WHEN l.moves_in_rotation < max_moves THEN l.rotation ELSE l.rotation + 1 END,
        moves_in_rotation = CASE WHEN l.moves_in_rotation < max_moves THEN l.moves_in_rotation + 1 ELSE 0 END
    FROM unnest(positions) WITH ORDINALITY AS p (
        tenant_id, device_id, fixed_at, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm,
        battery_permille, received_at, place
    )
    WHERE l.tenant_id = p.tenant_id
        AND l.device_id = p.device_id
        AND l.rotation = CASE
            WHEN locked_devices[p.place] = p.device_id AND locked_tenants[p.place] = p.tenant_id
                THEN rotations[p.place]
            ELSE (
                SELECT v.rotation FROM live_position AS v
                WHERE v.tenant_id = p.tenant_id AND v.device_id = p.device_id
                ORDER BY v.rotation DESC
                LIMIT 1
            )
        END
        AND l.tenant_id = ANY (tenant_ids)
        AND (l.last_fixed_at IS NULL OR l.last_fixed_at < p.fixed_at);
    RETURN NULL;
END
$$;

-- As before. That each device has one live position is seen to by the lock on its tenant.
CREATE OR REPLACE FUNCTION create_devices(wanted_tenant_id int, names text[])
RETURNS TABLE (device_id bigint, name text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    room int;
BEGIN
    SELECT device_limit INTO STRICT room FROM tenant WHERE tenant_id = wanted_tenant_id FOR NO KEY UPDATE;
    room := greatest(0, room - (SELECT count(*) FROM device WHERE tenant_id = wanted_tenant_id));

    INSERT INTO device (tenant_id, name)
    SELECT wanted_tenant_id, n.name
    FROM unnest(names) WITH ORDINALITY AS n (name, place)
    WHERE NOT EXISTS (SELECT FROM device AS d WHERE d.tenant_id = wanted_tenant_id AND d.name = n.name)
    GROUP BY n.name
    ORDER BY min(n.place)
    LIMIT room
    ON CONFLICT (tenant_id, name) DO NOTHING;

    INSERT INTO live_position (tenant_id, device_id)
    SELECT d.tenant_id, d.device_id
    FROM device AS d
    WHERE d.tenant_id = wanted_tenant_id
        AND d.name = ANY (names)
        AND NOT EXISTS (
            SELECT FROM live_position AS l WHERE l.tenant_id = wanted_tenant_id AND l.device_id = d.device_id
        );

    RETURN QUERY
    SELECT d.device_id, d.name FROM device AS d WHERE d.tenant_id = wanted_tenant_id AND d.name = ANY (names);
END
$$;
