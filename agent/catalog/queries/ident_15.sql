SELECT row_number() OVER (ORDER BY i.line_number) AS rule_number,
       '' AS file_name,
       i.line_number,
       coalesce(i.map_name, '') AS map,
       coalesce(i.sys_name, '') AS system_name,
       coalesce(i.pg_username, '') AS name,
       coalesce(i.error, '') AS error
FROM pg_catalog.pg_ident_file_mappings AS i
ORDER BY 1
