-- The two roles that connections act as. Nobody logs in as them.
--
-- COPY refuses tables with row-level security, so the writer of fixes needs a role that bypasses it; all else runs
-- under it. Roles belong to the cluster and not to a database: another Fleetwire database beside this one may have made
-- them already, or may be making them at this moment.

DO $$
DECLARE
    missing_role constant text :=
        'The roles of Fleetwire are missing and the owner of this database may not create them. '
        'As a superuser, run once: CREATE ROLE fleetwire_ingest NOLOGIN BYPASSRLS; CREATE ROLE fleetwire_app NOLOGIN; '
        'GRANT fleetwire_ingest, fleetwire_app TO %I;';
    -- From 16 on, who creates a role may administer it but not act as it.
    membership constant text :=
        CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END;
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['fleetwire_ingest', 'fleetwire_app'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format(
                    'CREATE ROLE %I NOLOGIN %s',
                    role_name,
                    CASE role_name WHEN 'fleetwire_ingest' THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END
                );
            EXCEPTION
                -- Another database's migration was quicker.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN
                    RAISE insufficient_privilege USING MESSAGE = format(missing_role, current_user);
            END;
        END IF;
        IF NOT pg_has_role(current_user, role_name, membership) THEN
            BEGIN
                EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE insufficient_privilege USING MESSAGE = format(
                    'The owner of this database may not act as %1$I. As a superuser, run once: GRANT %1$I TO %2$I;',
                    role_name, current_user
                );
            END;
        END IF;
    END LOOP;

    IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'fleetwire_ingest') THEN
        RAISE insufficient_privilege USING MESSAGE =
            'The role fleetwire_ingest may not bypass row-level security, so it could not COPY. '
            'As a superuser, run once: ALTER ROLE fleetwire_ingest BYPASSRLS;';
    END IF;
END
$$;

-- The database may have been hardened.
GRANT USAGE ON SCHEMA public TO fleetwire_ingest, fleetwire_app;
