-- Who changed what, and whom. A row is written in the transaction of its change: there is no change without it.

CREATE SEQUENCE audit_id_seq;

CREATE TABLE audit_log (
    tenant_id int NOT NULL REFERENCES tenant,
    audit_id bigint NOT NULL DEFAULT nextval('audit_id_seq'),
    noted_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL, -- a user's name; `operator` for whoever has the database
    action text NOT NULL, -- `user.create`, `token.revoke`, ...
    subject text NOT NULL, -- a user's name, a token's number, a session's id
    detail jsonb NOT NULL DEFAULT '{}', -- what it became; never a password or a token
    address text,
    request_id text,
    PRIMARY KEY (tenant_id, audit_id)
);
ALTER SEQUENCE audit_id_seq OWNED BY audit_log.audit_id;

ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON audit_log TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);

-- Nobody who works through the server can change what was noted.
GRANT SELECT, INSERT ON audit_log TO fleetwire_app;
GRANT USAGE ON SEQUENCE audit_id_seq TO fleetwire_app;
