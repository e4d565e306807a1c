-- load_orders --
-- The devices of every order of every tenant, to warm the live table; needs a role that bypasses RLS.
SELECT tenant_id, order_name, array_agg(device_id ORDER BY device_id) AS device_ids
FROM order_device
GROUP BY tenant_id, order_name;

-- load_orders_of --
-- The devices of every order of one tenant.
-- $1 tenant_id int
SELECT order_name, array_agg(device_id ORDER BY device_id) AS device_ids
FROM order_device
WHERE tenant_id = $1
GROUP BY order_name;

-- lock_order --
-- Waits for whoever changes the same order, until the end of the transaction.
-- $1 tenant_id int, $2 order_name text
SELECT pg_advisory_xact_lock($1, hashtext($2));

-- clear_order --
-- Takes all devices from an order.
-- $1 tenant_id int, $2 order_name text
DELETE FROM order_device WHERE tenant_id = $1 AND order_name = $2;

-- fill_order --
-- Gives devices to an order that has none.
-- $1 tenant_id int, $2 order_name text, $3 device_ids int8[]
INSERT INTO order_device (tenant_id, order_name, device_id)
SELECT $1, $2, ids.device_id FROM unnest($3::bigint[]) AS ids (device_id);

-- assign --
-- Has a device work on an order, beside those that do; nothing if there is no such device.
-- $1 tenant_id int, $2 order_name text, $3 device text
INSERT INTO order_device (tenant_id, order_name, device_id)
SELECT d.tenant_id, $2, d.device_id FROM device AS d WHERE d.tenant_id = $1 AND d.name = $3
ON CONFLICT DO NOTHING;

-- withdraw --
-- Takes a device from an order.
-- $1 tenant_id int, $2 order_name text, $3 device text
DELETE FROM order_device AS o USING device AS d
WHERE o.tenant_id = $1 AND o.order_name = $2 AND d.tenant_id = $1 AND d.name = $3 AND d.device_id = o.device_id;

-- devices_of --
-- The devices of an order.
-- $1 tenant_id int, $2 order_name text
SELECT device_id FROM order_device WHERE tenant_id = $1 AND order_name = $2 ORDER BY device_id;

-- orders_of --
-- The orders of a driver: those its device works on, those it is offered, and where no device has its name, those that
-- the newest assignments in its room give it.
-- $1 tenant_id int, $2 name text, $3 room text
SELECT o.order_name
FROM order_device AS o
JOIN device AS d USING (tenant_id, device_id)
WHERE o.tenant_id = $1 AND d.tenant_id = $1 AND d.name = $2
UNION
SELECT newest.order_name FROM (
    SELECT DISTINCT ON (payload ->> 'order') payload ->> 'order' AS order_name, payload ->> 'state' AS state
    FROM event
    WHERE tenant_id = $1 AND room = $3 AND kind = 'assignment'
    ORDER BY payload ->> 'order', seq DESC
) AS newest
WHERE newest.state = 'offered'
    OR (newest.state = 'assigned' AND NOT EXISTS (SELECT FROM device AS d WHERE d.tenant_id = $1 AND d.name = $2));

-- notify --
-- Tells every worker, at the commit, which order has other devices.
-- $1 channel text, $2 payload text
SELECT pg_notify($1, $2);
