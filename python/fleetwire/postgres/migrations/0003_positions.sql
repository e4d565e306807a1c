-- The present of every device, and its history.

-- The newest fix of a device, and the watermark by which a group commit tells new fixes from late ones. A row exists
-- from the device's creation, so that there is always something to lock; last_fixed_at is null until the first fix.
-- Half-empty pages and no index on what changes: updates stay on their page (HOT) and leave the index alone.
CREATE TABLE live_position (
    tenant_id int NOT NULL,
    device_id bigint NOT NULL,
    last_fixed_at timestamptz,
    lat_e7 int,
    lon_e7 int,
    altitude_dm int,
    speed_cmps int2,
    heading_cdeg int2, -- -18000 to 17999, clockwise, 0 is north
    accuracy_dm int2, -- 32767 stands for that and anything worse
    battery_permille int2,
    received_at timestamptz,
    PRIMARY KEY (tenant_id, device_id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES device ON DELETE CASCADE
) WITH (
    fillfactor = 50,
    -- Every row is updated every few seconds: the default of 20 % dead rows is reached at once anyway, so let it be
    -- cleaned without the pauses that are meant for large tables.
    autovacuum_vacuum_cost_delay = 0
);

-- One row per device and stored batch: its new fixes as arrays. `writer` sends these columns in this order.
--
-- No foreign key to device: the group commit that appends holds the lock on the device's live position, and a check per
-- row would be paid millions of times a day.
CREATE TABLE track_segment (
    tenant_id int NOT NULL,
    fix_count int NOT NULL,
    device_id bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    offset_millis int[] NOT NULL, -- from first_at, ascending
    lat_e7 int[] NOT NULL,
    lon_e7 int[] NOT NULL,
    -- The rest is null when no fix of the segment has it; single entries may be null, too.
    altitude_dm int[],
    speed_cmps int2[],
    heading_cdeg int2[], -- as in live_position
    accuracy_dm int2[], -- as in live_position
    battery_permille int2[],
    PRIMARY KEY (tenant_id, device_id, first_at),
    -- Readers rely on both: unnest() would pad a short array with nulls, and a search for what overlaps a time begins
    -- at the start of its UTC day.
    CONSTRAINT track_segment_columns_agree CHECK (
        fix_count > 0
        AND cardinality(offset_millis) = fix_count
        AND cardinality(lat_e7) = fix_count
        AND cardinality(lon_e7) = fix_count
        AND cardinality(altitude_dm) = fix_count
        AND cardinality(speed_cmps) = fix_count
        AND cardinality(heading_cdeg) = fix_count
        AND cardinality(accuracy_dm) = fix_count
        AND cardinality(battery_permille) = fix_count
    ),
    CONSTRAINT track_segment_within_a_day CHECK (
        last_at >= first_at AND (first_at AT TIME ZONE 'UTC')::date = (last_at AT TIME ZONE 'UTC')::date
    )
) PARTITION BY RANGE (first_at);

-- Long segments are compressed when they are toasted. lz4 is quicker than the default, where the server has it.
DO $$
DECLARE
    column_name text;
BEGIN
    FOR column_name IN
        SELECT attname FROM pg_attribute WHERE attrelid = 'track_segment'::regclass AND attnum > 0 AND attndims = 1
    LOOP
        EXECUTE format('ALTER TABLE track_segment ALTER COLUMN %I SET COMPRESSION lz4', column_name);
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;

-- Makes sure that fixes of `day` (UTC) have a partition. Quick when they have. Call it in a transaction of its own,
-- before the one that writes: the lock is held to the end of the transaction. CREATE and ATTACH wait for no writer and
-- no reader, as long as there is no default partition.
--
-- A month more than 13 months back that has no partition yet gets one for the whole month: an old archive can be
-- replayed, and no sender can make thousands of partitions. Later than the month ahead, a day is a mistake.
CREATE FUNCTION ensure_partition(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    today constant date := (now() AT TIME ZONE 'UTC')::date;
    month constant date := date_trunc('month', day::timestamp)::date;
    day_name constant text := 'track_segment_d' || to_char(day, 'YYYYMMDD');
    month_name constant text := 'track_segment_m' || to_char(day, 'YYYYMM');
    new_name text;
    lower_bound date;
    upper_bound date;
BEGIN
    IF day < date '2000-01-01' OR day > today + 31 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s has no place in the history: %s', day,
            'days from 2000-01-01 to the month ahead have.');
    END IF;
    FOR attempt IN 1..2 LOOP
        IF EXISTS (
            SELECT FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
            WHERE c.relname IN (day_name, month_name) AND i.inhparent = 'track_segment'::regclass
        ) THEN
            RETURN;
        END IF;
        -- Two sessions that both see none would both create it: one waits here and looks again. 'flw' in ASCII.
        PERFORM pg_advisory_xact_lock(6712439, 2);
    END LOOP;

    IF month < date_trunc('month', today::timestamp) - interval '13 months' AND NOT EXISTS (
        SELECT FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
        WHERE c.relname ^@ ('track_segment_d' || to_char(day, 'YYYYMM')) AND i.inhparent = 'track_segment'::regclass
    ) THEN
        new_name := month_name;
        lower_bound := month;
        upper_bound := month + interval '1 month';
    ELSE
        new_name := day_name;
        lower_bound := day;
        upper_bound := day + 1;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE track_segment INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE '
        'INCLUDING COMPRESSION)', new_name);
    -- Nobody but the owner reads a partition past its parent.
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', new_name);
    EXECUTE format('ALTER TABLE track_segment ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', new_name,
        lower_bound || ' 00:00:00+00', upper_bound || ' 00:00:00+00');
END
$$;

-- Locks the live positions of a group's devices and reads their watermarks, which stay true until the transaction ends.
-- All writers lock in the order of the key: of two groups that share devices one waits for the other, instead of each
-- for the other's half. FOR UPDATE reads again what it waited for, so the watermark is the newest committed one.
CREATE FUNCTION lock_group(tenant_ids int[], device_ids bigint[])
RETURNS TABLE (tenant_id int, device_id bigint, last_fixed_at timestamptz)
LANGUAGE sql
AS $$
    SELECT l.tenant_id, l.device_id, l.last_fixed_at
    FROM live_position AS l
    JOIN unnest(tenant_ids, device_ids) AS g (tenant_id, device_id) USING (tenant_id, device_id)
    ORDER BY l.tenant_id, l.device_id
    FOR UPDATE OF l
$$;

-- Stored times in spans of milliseconds since 1970 UTC, both ends inclusive: every segment that overlaps one.
--
-- Spans of the same days are looked up together, in a statement of their own whose bounds are constants to the planner:
-- it opens only the partitions of those days (one plan over 550 partitions takes 58 ms to make), and a segment that
-- overlaps a span begins at the earliest at the start of the UTC day in which the span does. A nested loop over the
-- primary key is the only good plan; without being told, the planner reads whole days into a hash join, because it
-- cannot know how narrow the spans are (400 spans: 138 ms instead of 40).
CREATE FUNCTION late_segments(tenant_ids int[], device_ids bigint[], from_millis bigint[], to_millis bigint[])
RETURNS TABLE (tenant_id int, device_id bigint, first_at_millis bigint, offset_millis bytea)
LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    day_millis constant bigint := 86400000;
    near record;
BEGIN
    FOR near IN
        SELECT
            array_agg(s.tenant_id) AS tenant_ids,
            array_agg(s.device_id) AS device_ids,
            array_agg(to_timestamp(s.from_millis / 1000.0)) AS froms,
            array_agg(to_timestamp(s.to_millis / 1000.0)) AS tos,
            to_timestamp(s.from_millis / day_millis * day_millis / 1000.0) AS earliest,
            to_timestamp(max(s.to_millis) / 1000.0) AS latest
        FROM unnest(tenant_ids, device_ids, from_millis, to_millis) AS s (tenant_id, device_id, from_millis, to_millis)
        GROUP BY s.from_millis / day_millis, s.to_millis / day_millis
    LOOP
        RETURN QUERY EXECUTE
            'SELECT t.tenant_id, t.device_id, (extract(epoch FROM t.first_at) * 1000)::bigint,
                array_send(t.offset_millis)
            FROM unnest($1, $2, $3, $4) AS s (tenant_id, device_id, from_at, to_at)
            JOIN track_segment AS t USING (tenant_id, device_id)
            WHERE t.tenant_id = ANY ($1) AND t.first_at BETWEEN $5 AND $6
                AND t.first_at <= s.to_at AND t.last_at >= s.from_at'
            USING near.tenant_ids, near.device_ids, near.froms, near.tos, near.earliest, near.latest;
    END LOOP;
END
$$;

-- Creates the devices among `names` that the tenant does not have, each with its live position, as far as the tenant's
-- device limit allows, in the order of `names`. Returns all of `names` that exist afterwards: what is missing in the
-- answer is beyond the limit. In plpgsql each statement sees what was committed before it, so that the count below
-- includes what was created while it waited for the lock.
CREATE FUNCTION create_devices(wanted_tenant_id int, names text[]) RETURNS TABLE (device_id bigint, name text)
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
    SELECT d.tenant_id, d.device_id FROM device AS d WHERE d.tenant_id = wanted_tenant_id AND d.name = ANY (names)
    ON CONFLICT (tenant_id, device_id) DO NOTHING;

    RETURN QUERY
    SELECT d.device_id, d.name FROM device AS d WHERE d.tenant_id = wanted_tenant_id AND d.name = ANY (names);
END
$$;

-- History as plain rows, in the units of the wire. security_invoker: the view of a superuser would show all tenants.
CREATE VIEW fix WITH (security_invoker = true) AS
SELECT
    s.tenant_id,
    t.name AS tenant,
    d.name AS device,
    s.first_at + f.offset_millis * interval '1 millisecond' AS fixed_at,
    f.lat_e7 / 1e7::float8 AS latitude,
    f.lon_e7 / 1e7::float8 AS longitude,
    (f.accuracy_dm / 10::float8)::float4 AS accuracy,
    (f.altitude_dm / 10::float8)::float4 AS altitude,
    ((f.heading_cdeg + 36000) % 36000 / 100::float8)::float4 AS heading,
    (f.speed_cmps / 100::float8)::float4 AS speed,
    (f.battery_permille / 1000::float8)::float4 AS battery,
    s.received_at
FROM track_segment AS s
JOIN tenant AS t USING (tenant_id)
JOIN device AS d USING (tenant_id, device_id)
CROSS JOIN LATERAL unnest(
    s.offset_millis, s.lat_e7, s.lon_e7, s.altitude_dm, s.speed_cmps, s.heading_cdeg, s.accuracy_dm, s.battery_permille
) AS f (offset_millis, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm, battery_permille);

ALTER TABLE live_position ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON live_position TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);
ALTER TABLE track_segment ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON track_segment TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);

GRANT SELECT, UPDATE ON live_position TO fleetwire_ingest;
GRANT SELECT, INSERT ON track_segment TO fleetwire_ingest;
GRANT SELECT ON live_position, track_segment, fix TO fleetwire_app;
REVOKE EXECUTE ON FUNCTION ensure_partition, lock_group, late_segments, create_devices FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partition, lock_group, late_segments, create_devices TO fleetwire_ingest;
