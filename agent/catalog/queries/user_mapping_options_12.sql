SELECT quote_ident(s.srvname) || '<-'
           || CASE WHEN m.umuser = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(m.umuser) END AS name,
       '{}'::text[] AS lines,
       coalesce(m.umoptions, '{}') AS options
FROM pg_catalog.pg_user_mapping AS m
JOIN pg_catalog.pg_foreign_server AS s ON s.oid = m.umserver
