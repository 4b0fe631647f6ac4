-- Languages that somebody made, and built-in ones that are not as initdb made them: only SQL is
-- trusted, so who makes C a trusted one lets everybody run what they like.
SELECT quote_ident(l.lanname) AS name,
       l.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(l.lanowner),
               'trusted: ' || CASE WHEN l.lanpltrusted THEN 'yes' ELSE 'no' END,
               CASE WHEN l.lanplcallfoid <> 0
                    THEN 'handler: ' || l.lanplcallfoid::regproc::text END,
               CASE WHEN l.laninline <> 0 THEN 'inline: ' || l.laninline::regproc::text END,
               CASE WHEN l.lanvalidator <> 0 THEN 'validator: ' || l.lanvalidator::regproc::text END
           ], NULL) AS lines
FROM pg_catalog.pg_language AS l
WHERE (l.oid >= 16384
       OR l.lanpltrusted <> (l.lanname = 'sql') OR l.lanispl OR l.lanowner <> 10)
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_language'::regclass AND d.objid = l.oid
        AND d.deptype = 'e')
