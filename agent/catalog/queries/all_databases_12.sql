-- Which databases there are, and which of them this role may read.
SELECT d.oid::bigint AS oid, d.datname AS name, d.datallowconn AS accepts,
       has_database_privilege(d.oid, 'CONNECT') AS allowed
FROM pg_catalog.pg_database AS d
WHERE NOT d.datistemplate
ORDER BY d.datname COLLATE "C"
