SELECT coalesce(i.map_number, 0) AS rule_number,
       coalesce(i.file_name, '') AS file_name,
       i.line_number,
       coalesce(i.map_name, '') AS map,
       coalesce(i.sys_name, '') AS system_name,
       coalesce(i.pg_username, '') AS name,
       coalesce(i.error, '') AS error
FROM pg_catalog.pg_ident_file_mappings AS i
ORDER BY 1, 2, 3
