-- A row that workers with a spool write to find out whether the database stores: one that only answers questions, such as
-- a standby or one that was made read-only, would pass SELECT 1.
CREATE TABLE store_probe (
    slot int PRIMARY KEY,
    probed_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
INSERT INTO store_probe (slot) VALUES (1);
GRANT SELECT, UPDATE ON store_probe TO fleetwire_ingest;
