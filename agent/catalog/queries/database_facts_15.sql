-- What each database is; databases_12.sql says which of them are read. Renamed, it keeps its number.
SELECT quote_ident(d.datname) AS name,
       'oid ' || d.oid AS detail,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(d.datdba),
               'encoding: ' || pg_encoding_to_char(d.encoding),
               'collate: ' || d.datcollate,
               'ctype: ' || d.datctype,
               'provider: ' || CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu'
                                                     ELSE 'builtin' END,
               'locale: ' || d.daticulocale,
               'allow connections: ' || CASE WHEN d.datallowconn THEN 'yes' ELSE 'no' END,
               CASE WHEN d.datistemplate THEN 'template: yes' END,
               CASE WHEN d.datconnlimit >= 0 THEN 'connection limit: ' || d.datconnlimit END,
               'tablespace: ' || quote_ident(t.spcname)
           ], NULL) AS lines
FROM pg_catalog.pg_database AS d
JOIN pg_catalog.pg_tablespace AS t ON t.oid = d.dattablespace
