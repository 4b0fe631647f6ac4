-- As hba_12.sql; from 16 on rules may come from included files and are numbered by the server.
SELECT coalesce(h.rule_number, 0) AS rule_number,
       coalesce(h.file_name, '') AS file_name,
       h.line_number,
       coalesce(h.type, '') AS type,
       coalesce(array_to_string(h.database, ','), '') AS databases,
       coalesce(array_to_string(h.user_name, ','), '') AS users,
       coalesce(h.address, '') AS address,
       coalesce(h.netmask, '') AS netmask,
       coalesce(h.auth_method, '') AS method,
       coalesce(h.options, '{}') AS options,
       coalesce(h.error, '') AS error
FROM pg_catalog.pg_hba_file_rules AS h
ORDER BY 1, 2, 3
