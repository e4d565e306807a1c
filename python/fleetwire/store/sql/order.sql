-- load_orders --
-- The devices of every order of every tenant, to warm the live table; needs a role that bypasses RLS.
SELECT tenant_id, order_name, array_agg(device_id ORDER BY device_id) AS device_ids
FROM order_device
GROUP BY tenant_id, order_name;

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
