-- The rules in the file, in order; the server obeys them from its next reload on.
SELECT row_number() OVER (ORDER BY h.line_number) AS rule_number,
       '' AS file_name,
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
ORDER BY 1
