-- set_tenant --
-- Lets the rest of this transaction see the rows of one tenant, and of no other, and names it for who looks at the server.
-- $1 tenant_id int, $2 application_name text
SELECT set_tenant($1), set_config('application_name', $2, true);

-- describe_connection --
-- Whom a connection acts as, and whether the server keeps what it has committed.
SELECT
    current_user AS role,
    r.rolsuper AS superuser,
    r.rolbypassrls AS bypasses_rls,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit
FROM pg_roles AS r
WHERE r.rolname = current_user;
