SELECT quote_ident(l.lanname) AS name,
       l.oid::bigint AS oid,
       ARRAY[
           'owner: ' || pg_get_userbyid(l.lanowner),
           'trusted: ' || CASE WHEN l.lanpltrusted THEN 'yes' ELSE 'no' END
       ] AS lines
FROM pg_catalog.pg_language AS l
WHERE l.oid >= 16384
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_language'::regclass AND d.objid = l.oid
        AND d.deptype = 'e')
