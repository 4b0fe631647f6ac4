SELECT d.datname AS name
FROM pg_catalog.pg_database AS d
WHERE d.datallowconn AND NOT d.datistemplate AND has_database_privilege(d.oid, 'CONNECT')
ORDER BY d.datname COLLATE "C"
