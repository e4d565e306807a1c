-- What happened, in order: the row is the truth, the delivery to watchers follows it (docs/adr/0013-events.md).

-- The number of a tenant's newest event. A transaction that publishes locks the row until it ends, so that numbers are
-- committed in their order and without a gap: who has read up to a number has missed nothing below it.
CREATE TABLE event_counter (
    tenant_id int PRIMARY KEY REFERENCES tenant,
    seq bigint NOT NULL CHECK (seq >= 0)
) WITH (fillfactor = 50);

CREATE TABLE event (
    tenant_id int NOT NULL REFERENCES tenant,
    seq bigint NOT NULL,
    room text NOT NULL CHECK (char_length(room) BETWEEN 1 AND 300),
    kind text NOT NULL CHECK (char_length(kind) BETWEEN 1 AND 64),
    payload jsonb NOT NULL,
    actor text NOT NULL CHECK (char_length(actor) BETWEEN 1 AND 300),
    client_id text CHECK (char_length(client_id) BETWEEN 1 AND 64),
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, seq),
    -- By actor: nobody learns of another's event by guessing its client_id.
    UNIQUE (tenant_id, actor, client_id)
);
CREATE INDEX event_room ON event (tenant_id, room, seq);

ALTER TABLE event_counter ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON event_counter TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);
ALTER TABLE event ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON event TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);

-- Events are appended; only retention, which runs as the owner, takes them away.
GRANT SELECT, INSERT ON event TO fleetwire_app;
GRANT SELECT, INSERT, UPDATE ON event_counter TO fleetwire_app;
