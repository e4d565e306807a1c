-- Companies and what sends fixes for them.
--
-- Rules for every table of a tenant, so that the schema can be distributed by tenant_id with Citus: tenant_id first in
-- the primary key, in every unique key and in every foreign key; no triggers; ids from sequences, not identity columns.
-- Everything lives in schema public.

-- Sets whose rows this transaction may see. SET LOCAL and not set_config(): only SET LOCAL reaches the other nodes of a
-- distributed database. Forgotten by itself at the end of the transaction.
CREATE FUNCTION set_tenant(tenant_id int) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format('SET LOCAL fleetwire.tenant_id = %L', tenant_id);
END
$$;

CREATE SEQUENCE tenant_id_seq AS int;

CREATE TABLE tenant (
    tenant_id int PRIMARY KEY DEFAULT nextval('tenant_id_seq'),
    name text NOT NULL UNIQUE CHECK (char_length(name) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    -- Unknown devices are created at first sight; this stops a runaway sender from filling the table.
    device_limit int NOT NULL DEFAULT 100000 CHECK (device_limit >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER SEQUENCE tenant_id_seq OWNED BY tenant.tenant_id;

CREATE SEQUENCE device_id_seq;

CREATE TABLE device (
    tenant_id int NOT NULL REFERENCES tenant,
    device_id bigint NOT NULL DEFAULT nextval('device_id_seq'),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, device_id),
    UNIQUE (tenant_id, name)
);
ALTER SEQUENCE device_id_seq OWNED BY device.device_id;

-- NULLIF: after a transaction-local setting has ended it reads '' and not NULL, and ''::int would fail.
ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON tenant TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);
ALTER TABLE device ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON device TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);

-- Devices are created by create_devices() alone, which gives each its live position as well; hence no INSERT here.
GRANT SELECT ON tenant, device TO fleetwire_ingest, fleetwire_app;
