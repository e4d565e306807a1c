-- A group commit in one statement, for a group of which nothing is late. docs/adr/0020-one-statement.md has the figures.

-- The newest fix of a device in a group. Not the row of live_position: that has more to say, and may grow.
CREATE TYPE moved_position AS (
    tenant_id int,
    device_id bigint,
    fixed_at timestamptz,
    lat_e7 int,
    lon_e7 int,
    altitude_dm int,
    speed_cmps int2,
    heading_cdeg int2,
    accuracy_dm int2,
    battery_permille int2,
    received_at timestamptz
);

-- Stores a group if `known_millis` are the watermarks of its devices, ascending by key, in milliseconds since 1970 UTC
-- (null: no fix yet): locks the devices, appends the segments, moves the positions forward and returns null. Otherwise
-- stores nothing and returns the watermarks.
CREATE FUNCTION store_group(
    tenant_ids int[], device_ids bigint[], known_millis bigint[], segments track_segment[], positions moved_position[]
) RETURNS bigint[]
LANGUAGE plpgsql
AS $$
DECLARE
    newest_millis constant bigint[] := ARRAY(
        SELECT (extract(epoch FROM last_fixed_at) * 1000)::bigint FROM lock_group(tenant_ids, device_ids)
    );
BEGIN
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
        received_at = p.received_at
    FROM unnest(positions) AS p
    WHERE l.tenant_id = p.tenant_id
        AND l.device_id = p.device_id
        AND l.tenant_id = ANY (tenant_ids)
        AND (l.last_fixed_at IS NULL OR l.last_fixed_at < p.fixed_at);
    RETURN NULL;
END
$$;

REVOKE EXECUTE ON FUNCTION store_group FROM PUBLIC;
GRANT EXECUTE ON FUNCTION store_group TO fleetwire_ingest;
