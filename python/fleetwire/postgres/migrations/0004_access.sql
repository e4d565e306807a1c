-- Who may do what: people, their sessions, and the tokens of machines.

CREATE SEQUENCE user_id_seq;

CREATE TABLE app_user (
    tenant_id int NOT NULL REFERENCES tenant,
    user_id bigint NOT NULL DEFAULT nextval('user_id_seq'),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    display_name text,
    role text NOT NULL CHECK (role IN ('admin', 'dispatcher', 'driver', 'customer', 'viewer')),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    password_hash text, -- null: no login by password
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id),
    UNIQUE (tenant_id, name)
);
ALTER SEQUENCE user_id_seq OWNED BY app_user.user_id;

CREATE SEQUENCE credential_id_seq;

-- An opaque token. Only its SHA-256 is kept: the token has 256 random bits, so that no slow hash is needed.
CREATE TABLE credential (
    tenant_id int NOT NULL REFERENCES tenant,
    credential_id bigint NOT NULL DEFAULT nextval('credential_id_seq'),
    kind text NOT NULL CHECK (kind IN ('ingest', 'device', 'user')),
    label text NOT NULL DEFAULT '',
    token_hash bytea NOT NULL CHECK (octet_length(token_hash) = 32),
    device_id bigint,
    user_id bigint,
    role text CHECK (role IN ('admin', 'dispatcher', 'driver', 'customer', 'viewer')), -- null: the user's own
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, credential_id),
    UNIQUE (tenant_id, token_hash),
    FOREIGN KEY (tenant_id, device_id) REFERENCES device ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE,
    CONSTRAINT credential_names_its_bearer CHECK (
        (device_id IS NOT NULL) = (kind = 'device') AND (user_id IS NOT NULL) = (kind = 'user')
    )
);
ALTER SEQUENCE credential_id_seq OWNED BY credential.credential_id;
-- A token is looked up before its tenant is known.
CREATE INDEX credential_token_hash ON credential (token_hash);
CREATE INDEX credential_device ON credential (tenant_id, device_id) WHERE device_id IS NOT NULL;
CREATE INDEX credential_user ON credential (tenant_id, user_id) WHERE user_id IS NOT NULL;

CREATE TABLE session (
    tenant_id int NOT NULL REFERENCES tenant,
    session_id uuid NOT NULL,
    user_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, session_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user ON DELETE CASCADE
);
CREATE INDEX session_user_id ON session (tenant_id, user_id);

-- Keys of the short-lived login tokens: of the installation, not of a tenant. No role but the owner reads the table.
CREATE TABLE signing_key (
    kid text PRIMARY KEY,
    secret bytea NOT NULL CHECK (octet_length(secret) >= 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

-- The credential of a token, whatever its state: the caller tells expired and revoked apart. No row: no such token.
CREATE FUNCTION find_credential(wanted_hash bytea) RETURNS TABLE (
    tenant_id int,
    tenant text,
    tenant_status text,
    credential_id bigint,
    kind text,
    device_id bigint,
    device text,
    user_id bigint,
    user_name text,
    user_status text,
    role text,
    expires_at timestamptz,
    revoked_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
    SELECT
        c.tenant_id, t.name, t.status, c.credential_id, c.kind, c.device_id, d.name, c.user_id, u.name, u.status,
        coalesce(c.role, u.role), c.expires_at, c.revoked_at
    FROM credential AS c
    JOIN tenant AS t USING (tenant_id)
    LEFT JOIN device AS d USING (tenant_id, device_id)
    LEFT JOIN app_user AS u USING (tenant_id, user_id)
    WHERE c.token_hash = wanted_hash
$$;

-- What a login is checked against. No row: no such tenant or user.
CREATE FUNCTION find_login(tenant_name text, user_name text) RETURNS TABLE (
    tenant_id int,
    user_id bigint,
    role text,
    status text,
    password_hash text,
    tenant_status text,
    display_name text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
    SELECT u.tenant_id, u.user_id, u.role, u.status, u.password_hash, t.status, u.display_name
    FROM tenant AS t
    JOIN app_user AS u USING (tenant_id)
    WHERE t.name = tenant_name AND u.name = user_name
$$;

-- All keys, newest first; a retired one still verifies what it signed until that expires.
CREATE FUNCTION signing_keys()
RETURNS TABLE (kid text, secret bytea, created_at timestamptz, retired_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
    SELECT k.kid, k.secret, k.created_at, k.retired_at FROM signing_key AS k ORDER BY k.created_at DESC, k.kid
$$;

ALTER TABLE app_user ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON app_user TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);
ALTER TABLE credential ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON credential TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);
ALTER TABLE session ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON session TO fleetwire_app
    USING (tenant_id = NULLIF(current_setting('fleetwire.tenant_id', true), '')::int);
ALTER TABLE signing_key ENABLE ROW LEVEL SECURITY;

GRANT SELECT, INSERT, UPDATE, DELETE ON app_user, credential, session TO fleetwire_app;
GRANT USAGE ON SEQUENCE user_id_seq, credential_id_seq TO fleetwire_app;
REVOKE EXECUTE ON FUNCTION find_credential, find_login, signing_keys FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_credential, find_login, signing_keys TO fleetwire_app;
