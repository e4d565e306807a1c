-- Partitions one at a time, and none beside one that is being removed.

-- Makes sure that fixes of `day` (UTC) have a partition, and returns the days that it is for. Quick when they have. Call it
-- in a transaction of its own, before the one that writes: its locks, which are held to the end of the transaction, keep
-- others from making partitions. CREATE and ATTACH wait for no writer and no reader, as long as there is no default
-- partition.
--
-- A month more than 13 months back that has no partition yet gets one for the whole month: an old archive can be
-- replayed, and no sender can make thousands of partitions. Later than the month ahead, a day is a mistake.
--
-- A partition that is detached, or half detached, may be attached again (`store/maintenance/detached.py`): until that is decided its
-- days have none (object_not_in_prerequisite_state).
CREATE FUNCTION partition_for(day date) RETURNS daterange
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    today constant date := (now() AT TIME ZONE 'UTC')::date;
    month constant date := date_trunc('month', day::timestamp)::date;
    next_month constant date := (month + interval '1 month')::date;
    of_days constant text := 'track_segment_d' || to_char(day, 'YYYYMM');
    day_name constant text := 'track_segment_d' || to_char(day, 'YYYYMMDD');
    month_name constant text := 'track_segment_m' || to_char(day, 'YYYYMM');
    found record;
    has_days boolean;
    new_name text;
    days daterange;
BEGIN
    IF day < date '2000-01-01' OR day > today + 31 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s has no place in the history: %s', day,
            'days from 2000-01-01 to the month ahead have.');
    END IF;
    FOR attempt IN 1..2 LOOP
        SELECT c.relname = month_name AS is_month, i.inhparent IS NOT NULL AND NOT i.inhdetachpending AS is_attached
        INTO found
        FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
        WHERE c.relname IN (day_name, month_name) AND c.relkind = 'r'
            AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'track_segment'::regclass)
        ORDER BY is_attached DESC
        LIMIT 1;
        IF found.is_attached THEN
            RETURN CASE WHEN found.is_month THEN daterange(month, next_month) ELSE daterange(day, day + 1) END;
        ELSIF found IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state
                USING MESSAGE = format('The partition of %s is detached, or about to be.', day);
        END IF;
        -- Two sessions that both see none would both create it: one waits here and looks again. 'flw' in ASCII.
        PERFORM pg_advisory_xact_lock(6712439, 2);
    END LOOP;

    -- Detached ones count, too: a month around a day would keep that from being attached again.
    has_days := EXISTS (
        SELECT FROM pg_class AS c
        WHERE c.relname ^@ of_days AND c.relkind = 'r'
            AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'track_segment'::regclass)
    );
    IF month < date_trunc('month', today::timestamp) - interval '13 months' AND NOT has_days THEN
        new_name := month_name;
        days := daterange(month, next_month);
    ELSE
        new_name := day_name;
        days := daterange(day, day + 1);
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE track_segment INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE '
        'INCLUDING COMPRESSION)', new_name);
    -- Nobody but the owner reads a partition past its parent.
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', new_name);
    EXECUTE format('ALTER TABLE track_segment ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', new_name,
        lower(days) || ' 00:00:00+00', upper(days) || ' 00:00:00+00');
    RETURN days;
END
$$;

-- The same by its name of before, for workers of an earlier release and for the days ahead.
CREATE OR REPLACE FUNCTION ensure_partition(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM partition_for(day);
END
$$;

REVOKE EXECUTE ON FUNCTION partition_for FROM PUBLIC;
GRANT EXECUTE ON FUNCTION partition_for TO fleetwire_ingest;
