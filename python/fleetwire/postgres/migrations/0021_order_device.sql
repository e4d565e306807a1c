-- Which devices work on which order, for feeds that watch an order. The order may be unknown here: it is a name.
CREATE TABLE order_device (
    tenant_id int NOT NULL REFERENCES tenant,
    order_name text NOT NULL CHECK (char_length(order_name) BETWEEN 1 AND 128),
    device_id bigint NOT NULL,
    PRIMARY KEY (tenant_id, order_name, device_id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES device ON DELETE CASCADE
);
CREATE INDEX order_device_device ON order_device (tenant_id, device_id);

ALTER TABLE order_device ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON order_device TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);
GRANT SELECT, INSERT, DELETE ON order_device TO fleetwire_app;
GRANT SELECT ON order_device TO fleetwire_ingest;
