-- A cheap look: as long as this, and the files that Stage.mark looks at, stay the same, nothing that
-- state.sql compares can have changed. Whatever writes a row commits, and a commit moves the WAL (of
-- unlogged tables too, and in other databases). Sequences: nextval writes WAL only for each 32nd value.
SELECT concat_ws('|',
  pg_current_wal_insert_lsn(),
  (SELECT string_agg(concat_ws(',', schemaname, sequencename, last_value), ';' ORDER BY 1) FROM pg_sequences)
)
