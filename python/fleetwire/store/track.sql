-- merge_count --
-- How often the device's segments were merged; in the transaction, and with the snapshot, of the page it stands for.
-- $1 tenant_id int, $2 device_id bigint
SELECT merge_count FROM live_position WHERE tenant_id = $1 AND device_id = $2 ORDER BY rotation DESC LIMIT 1;

-- track_state --
-- What a span of a device's track changes with: fixes are only ever added, with a later received_at, or deleted from
-- the beginning. Segments that overlap the span count whole, so that two states may stand for one document, never one
-- for two.
-- $1 tenant_id int, $2 device_id bigint, $3 from_millis bigint, $4 to_millis bigint
SELECT
    coalesce(sum(fix_count), 0)::bigint AS fixes,
    coalesce((extract(epoch FROM min(first_at)) * 1000)::bigint, 0) AS first_at_millis,
    coalesce((extract(epoch FROM max(received_at)) * 1000)::bigint, 0) AS received_at_millis
FROM (
    SELECT fix_count, first_at, received_at
    FROM track_segment
    WHERE tenant_id = $1
        AND device_id = $2
        AND first_at >= to_timestamp(($3::bigint - $3::bigint % 86400000) / 1000.0)
        AND first_at <= to_timestamp($4::bigint / 1000.0)
        AND last_at >= to_timestamp($3::bigint / 1000.0)
    UNION ALL
    SELECT fix_count, first_at, received_at
    FROM track_merged
    WHERE tenant_id = $1
        AND device_id = $2
        AND first_at >= to_timestamp(($3::bigint - $3::bigint % 86400000) / 1000.0)
        AND first_at <= to_timestamp($4::bigint / 1000.0)
        AND last_at >= to_timestamp($3::bigint / 1000.0)
) AS segment;

-- track_page --
-- A page of the segments of one device that overlap a span (both ends inclusive), ascending by first_at. $5 is the
-- first_at of the last segment of the page before, or null. Columns as record_send() gives the packed ones and
-- array_send() the others, null where a segment has none. Each half has its own limit, because a sort above both would read
-- the whole span for every page.
-- $1 tenant_id int, $2 device_id bigint, $3 from_millis bigint, $4 to_millis bigint, $5 after_millis bigint,
-- $6 limit_rows int8
(
    SELECT
        (extract(epoch FROM first_at) * 1000)::bigint AS first_at_millis,
        record_send(offset_millis) AS offset_millis,
        record_send(lat_e7) AS lat_e7,
        record_send(lon_e7) AS lon_e7,
        record_send(altitude_dm) AS altitude_dm,
        array_send(speed_cmps) AS speed_cmps,
        array_send(heading_cdeg) AS heading_cdeg,
        array_send(accuracy_dm) AS accuracy_dm,
        array_send(battery_permille) AS battery_permille,
        fix_count
    FROM track_segment
    WHERE tenant_id = $1
        AND device_id = $2
        AND first_at >= to_timestamp(($3::bigint - $3::bigint % 86400000) / 1000.0)
        AND first_at <= to_timestamp($4::bigint / 1000.0)
        AND last_at >= to_timestamp($3::bigint / 1000.0)
        AND ($5::bigint IS NULL OR first_at > to_timestamp($5::bigint / 1000.0))
    ORDER BY first_at
    LIMIT $6
)
UNION ALL
(
    SELECT
        (extract(epoch FROM first_at) * 1000)::bigint AS first_at_millis,
        record_send(offset_millis) AS offset_millis,
        record_send(lat_e7) AS lat_e7,
        record_send(lon_e7) AS lon_e7,
        record_send(altitude_dm) AS altitude_dm,
        array_send(speed_cmps) AS speed_cmps,
        array_send(heading_cdeg) AS heading_cdeg,
        array_send(accuracy_dm) AS accuracy_dm,
        array_send(battery_permille) AS battery_permille,
        fix_count
    FROM track_merged
    WHERE tenant_id = $1
        AND device_id = $2
        AND first_at >= to_timestamp(($3::bigint - $3::bigint % 86400000) / 1000.0)
        AND first_at <= to_timestamp($4::bigint / 1000.0)
        AND last_at >= to_timestamp($3::bigint / 1000.0)
        AND ($5::bigint IS NULL OR first_at > to_timestamp($5::bigint / 1000.0))
    ORDER BY first_at
    LIMIT $6
)
ORDER BY first_at_millis
LIMIT $6;
