-- Schemas that somebody made, and public, which may be given to another owner or dropped.
SELECT quote_ident(n.nspname) AS name,
       ARRAY['owner: ' || pg_get_userbyid(n.nspowner)] AS lines
FROM pg_catalog.pg_namespace AS n
WHERE (n.oid >= 16384 OR n.nspname = 'public')
  AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
