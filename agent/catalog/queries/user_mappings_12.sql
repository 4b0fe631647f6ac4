-- The view shows to everybody which mappings there are; their options are in user_mapping_options.
SELECT quote_ident(m.srvname) || '<-' || CASE WHEN m.umuser = 0 THEN 'PUBLIC' ELSE m.usename END
           AS name,
       '{}'::text[] AS lines
FROM pg_catalog.pg_user_mappings AS m
