SELECT quote_ident(t.spcname) AS name,
       t.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(t.spcowner),
               'location: ' || nullif(pg_tablespace_location(t.oid), ''),
               'options: ' || array_to_string(t.spcoptions, ', ')
           ], NULL) AS lines
FROM pg_catalog.pg_tablespace AS t
