-- The least that pgwarden's catalog session needs. Run as a superuser, once for each cluster.
CREATE ROLE pgwarden LOGIN;
GRANT pg_monitor TO pgwarden;  -- pg_read_all_settings with source files, pg_stat_activity in full
-- The rules of pg_hba.conf. These two hold in one database only: run them in the one that pgwarden
-- connects to (agent.catalog.database, by default postgres).
GRANT SELECT ON pg_catalog.pg_hba_file_rules TO pgwarden;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() TO pgwarden;
