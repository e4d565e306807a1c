-- set_tenant --
-- Lets the rest of this transaction see the rows of one tenant, and of no other, and names it for who looks at the server.
-- $1 tenant_id int, $2 application_name text
SELECT set_tenant($1), set_config('application_name', $2, true);

-- describe_connection --
-- Whom a connection acts as, whether the server keeps what it has committed, and which database this is.
SELECT
    current_user AS role,
    r.rolsuper AS superuser,
    r.rolbypassrls AS bypasses_rls,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    s.system_identifier,
    c.timeline_id,
    (SELECT d.oid::bigint FROM pg_database AS d WHERE d.datname = current_database()) AS database_oid,
    pg_postmaster_start_time() AS started_at,
    ARRAY(
        SELECT coalesce(pg_relation_filenode(to_regclass(numbered.name)), 0)::bigint
        FROM unnest(ARRAY['tenant', 'device', 'live_position', 'event_counter']) AS numbered (name)
    ) AS table_files,
    -- pg_restore makes these last, when all rows are there.
    EXISTS (
        SELECT FROM pg_constraint AS k WHERE k.conrelid = to_regclass('live_position') AND k.contype = 'f'
    ) AS is_whole
FROM pg_roles AS r, pg_control_system() AS s, pg_control_checkpoint() AS c
WHERE r.rolname = current_user;
