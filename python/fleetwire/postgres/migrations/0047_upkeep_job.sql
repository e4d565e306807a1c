-- Where each job of upkeep goes on, whichever process does the next round. Of the installation, not of a tenant.
CREATE TABLE upkeep_job (
    name text PRIMARY KEY,
    place text NOT NULL DEFAULT '{}', -- JSON of the job's own
    began_at timestamptz, -- of the pass that is not complete; null: between two passes
    finished_at timestamptz -- end of the last complete pass
);
