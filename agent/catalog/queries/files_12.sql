SELECT s.name, s.setting FROM pg_catalog.pg_settings AS s
WHERE s.name IN ('config_file', 'hba_file', 'ident_file')
