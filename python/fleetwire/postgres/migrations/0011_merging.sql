-- Storage over time: small segments of closed hours become large ones, and a tenant may say how long fixes are kept.

-- A column of whole numbers in half the bytes, if neighbours lie near each other. The first value that is not null is
-- `base`; from one value to the next it is `step * (low + 65536 * high)`, modulo 2^32, as in the core's packed.rs.
-- `high` is null where all of it would be 0; a null in `low` stands for a null among the values.
CREATE TYPE packed_int4 AS (base int, step int, low int2[], high int2[]);

-- The values again. A loop in plpgsql takes 0.3 microseconds per value; a window over unnest() takes ten times that.
CREATE FUNCTION unpacked(packed packed_int4) RETURNS int[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    high constant int2[] := packed.high;
    step constant bigint := packed.step;
    value bigint := packed.base;
    low int2;
    place int := 0;
    values_ int[];
BEGIN
    IF packed.low IS NULL THEN
        RETURN NULL;
    END IF;
    FOREACH low IN ARRAY packed.low LOOP
        IF low IS NULL THEN
            values_ := array_append(values_, NULL::int);
        ELSE
            IF high IS NULL THEN
                value := value + step * low;
            ELSE
                value := value + step * (low + 65536::bigint * high[place + 1]);
            END IF;
            values_ := array_append(values_, (((value + 2147483648) & 4294967295) - 2147483648)::int);
        END IF;
        place := place + 1;
    END LOOP;
    RETURN values_;
END
$$;

-- Segments of closed hours: one row per device and up to an hour of fixes a second, never across a UTC day. A fix is
-- here or in track_segment, and moves while its device's live position is locked. Merged rows stand in a table of their
-- own so that the partition which they leave becomes empty and gives its space back without a lock that ingest would
-- feel. The columns have the names and the order of track_segment's.
--
-- received_at is that of the part received last: of a single fix in a merged row it says "not later than".
CREATE TABLE track_merged (
    tenant_id int NOT NULL,
    fix_count int NOT NULL,
    device_id bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    offset_millis packed_int4 NOT NULL,
    lat_e7 packed_int4 NOT NULL,
    lon_e7 packed_int4 NOT NULL,
    altitude_dm packed_int4,
    speed_cmps int2[],
    heading_cdeg int2[],
    accuracy_dm int2[],
    battery_permille int2[],
    PRIMARY KEY (tenant_id, device_id, first_at),
    CONSTRAINT track_merged_columns_agree CHECK (
        fix_count > 0
        AND cardinality((offset_millis).low) = fix_count
        AND cardinality((lat_e7).low) = fix_count
        AND cardinality((lon_e7).low) = fix_count
        AND cardinality((altitude_dm).low) = fix_count
        AND cardinality(speed_cmps) = fix_count
        AND cardinality(heading_cdeg) = fix_count
        AND cardinality(accuracy_dm) = fix_count
        AND cardinality(battery_permille) = fix_count
    ),
    CONSTRAINT track_merged_within_a_day CHECK (
        last_at >= first_at AND (first_at AT TIME ZONE 'UTC')::date = (last_at AT TIME ZONE 'UTC')::date
    )
) PARTITION BY RANGE (first_at);

DO $$
DECLARE
    column_name text;
BEGIN
    FOR column_name IN
        SELECT attname FROM pg_attribute WHERE attrelid = 'track_merged'::regclass AND attnum > 6 AND NOT attisdropped
    LOOP
        EXECUTE format('ALTER TABLE track_merged ALTER COLUMN %I SET COMPRESSION lz4', column_name);
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;

ALTER TABLE track_merged ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON track_merged TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);
GRANT SELECT ON track_merged TO fleetwire_ingest, fleetwire_app;

-- Makes the partition of track_merged for the span of a partition of track_segment and returns its name. The owner's
-- alone; in a transaction of its own, as ensure_partition.
CREATE FUNCTION ensure_merged_partition(segment_partition text) RETURNS text
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    new_name constant text := replace(segment_partition, 'track_segment_', 'track_merged_');
    bounds constant text := (
        SELECT pg_get_expr(c.relpartbound, c.oid)
        FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
        WHERE c.relname = segment_partition AND i.inhparent = 'track_segment'::regclass
    );
BEGIN
    IF bounds IS NULL THEN
        RAISE undefined_table USING MESSAGE = format('%s is no partition of track_segment.', segment_partition);
    END IF;
    FOR attempt IN 1..2 LOOP
        IF EXISTS (
            SELECT FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
            WHERE c.relname = new_name AND i.inhparent = 'track_merged'::regclass
        ) THEN
            RETURN new_name;
        END IF;
        PERFORM pg_advisory_xact_lock(6712439, 2);
    END LOOP;
    EXECUTE format('CREATE TABLE %I (LIKE track_merged INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE '
        'INCLUDING COMPRESSION)', new_name);
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', new_name);
    EXECUTE format('ALTER TABLE track_merged ATTACH PARTITION %I %s', new_name, bounds);
    RETURN new_name;
END
$$;
REVOKE EXECUTE ON FUNCTION ensure_merged_partition FROM PUBLIC;

-- How often segments of the device were merged. A track is read page by page, each page in a transaction of its own;
-- a count that moved in between says that the segments begin elsewhere by now.
ALTER TABLE live_position ADD COLUMN merge_count int NOT NULL DEFAULT 0;

-- As before, from both tables; offset_millis is array_send() of track_segment's, record_send() of track_merged's.
CREATE OR REPLACE FUNCTION late_segments(
    tenant_ids int[], device_ids bigint[], from_millis bigint[], to_millis bigint[]
)
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
                AND t.first_at <= s.to_at AND t.last_at >= s.from_at
            UNION ALL
            SELECT t.tenant_id, t.device_id, (extract(epoch FROM t.first_at) * 1000)::bigint,
                record_send(t.offset_millis)
            FROM unnest($1, $2, $3, $4) AS s (tenant_id, device_id, from_at, to_at)
            JOIN track_merged AS t USING (tenant_id, device_id)
            WHERE t.tenant_id = ANY ($1) AND t.first_at BETWEEN $5 AND $6
                AND t.first_at <= s.to_at AND t.last_at >= s.from_at'
            USING near.tenant_ids, near.device_ids, near.froms, near.tos, near.earliest, near.latest;
    END LOOP;
END
$$;

CREATE OR REPLACE VIEW fix WITH (security_invoker = true) AS
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
) AS f (offset_millis, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm, battery_permille)
UNION ALL
SELECT
    s.tenant_id,
    t.name,
    d.name,
    s.first_at + f.offset_millis * interval '1 millisecond',
    f.lat_e7 / 1e7::float8,
    f.lon_e7 / 1e7::float8,
    (f.accuracy_dm / 10::float8)::float4,
    (f.altitude_dm / 10::float8)::float4,
    ((f.heading_cdeg + 36000) % 36000 / 100::float8)::float4,
    (f.speed_cmps / 100::float8)::float4,
    (f.battery_permille / 1000::float8)::float4,
    s.received_at
FROM track_merged AS s
JOIN tenant AS t USING (tenant_id)
JOIN device AS d USING (tenant_id, device_id)
CROSS JOIN LATERAL unnest(
    unpacked(s.offset_millis), unpacked(s.lat_e7), unpacked(s.lon_e7), unpacked(s.altitude_dm),
    s.speed_cmps, s.heading_cdeg, s.accuracy_dm, s.battery_permille
) AS f (offset_millis, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm, battery_permille);

-- Days that fixes are kept; null: as the server's setting says, 0: for ever. Older fixes are refused as
-- `timestamp_expired` and deleted.
ALTER TABLE tenant ADD COLUMN retention_days int CHECK (retention_days BETWEEN 0 AND 36500);
