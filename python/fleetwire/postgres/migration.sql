-- lock --
-- Waits until no other process migrates this database; held to the end of the transaction. 'flw' in ASCII.
SELECT pg_advisory_xact_lock(6712439, 1);

-- create_ledger --
-- The list of what was applied.
CREATE TABLE IF NOT EXISTS schema_migration (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- applied --
-- What was applied, with the hash of its text.
SELECT name, sha256 FROM schema_migration;

-- record --
-- Adds a migration to the ledger.
-- $1 name text, $2 sha256 text
INSERT INTO schema_migration (name, sha256) VALUES ($1, $2);
