-- What ALTER ROLE ... SET and ALTER DATABASE ... SET stored, one row a setting.
SELECT split_part(entry.text, '=', 1) AS name,
       substr(entry.text, strpos(entry.text, '=') + 1) AS setting,
       coalesce(r.rolname, '') AS role,
       coalesce(d.datname, '') AS database
FROM pg_catalog.pg_db_role_setting AS s
CROSS JOIN LATERAL unnest(s.setconfig) AS entry(text)
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
ORDER BY 1, 3, 4
