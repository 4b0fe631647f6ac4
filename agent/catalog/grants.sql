-- The least that pgwarden's catalog session needs. Run as a superuser, once for each cluster.
CREATE ROLE pgwarden LOGIN;
GRANT pg_monitor TO pgwarden;  -- pg_read_all_settings with source files, pg_stat_activity in full
-- The rules of pg_hba.conf and pg_ident.conf (the latter from PostgreSQL 15 on), and lines of the
-- configuration files that the server could not use. These hold in one database only: run them in
-- the one that pgwarden connects to (agent.catalog.database, by default postgres).
GRANT SELECT ON pg_catalog.pg_hba_file_rules TO pgwarden;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() TO pgwarden;
GRANT SELECT ON pg_catalog.pg_ident_file_mappings TO pgwarden;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ident_file_mappings() TO pgwarden;
GRANT SELECT ON pg_catalog.pg_file_settings TO pgwarden;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_all_file_settings() TO pgwarden;
-- Only in databases that have subscriptions or user mappings: what they connect with, of which a
-- hash leaves the host. It lets pgwarden's role see their passwords; without it a change of these
-- stays unseen.
GRANT SELECT (subconninfo) ON pg_catalog.pg_subscription TO pgwarden;
GRANT SELECT ON pg_catalog.pg_user_mapping TO pgwarden;
