-- As changes_12, for what belongs to the whole cluster. Settings and roles are views: their content
-- is hashed. Settings as in settings_12.
SELECT 'setting' AS part, count(*) AS rows,
       sum(hashtextextended(
           concat_ws('|', s.name, CASE s.source WHEN 'session' THEN s.reset_val ELSE s.setting END,
                     s.source, s.sourcefile, s.sourceline::text, s.pending_restart::text),
           0)) AS hash
FROM pg_catalog.pg_settings AS s
WHERE s.source <> 'client'
UNION ALL
SELECT 'setting', pg_is_in_recovery()::int, 0
UNION ALL
SELECT 'role_setting', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_db_role_setting GROUP BY xmin) AS g
UNION ALL
SELECT 'role', count(*), sum(hashtextextended(r::text, 0)) FROM pg_catalog.pg_roles AS r
UNION ALL
SELECT 'member', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_auth_members GROUP BY xmin) AS g
UNION ALL
SELECT 'database', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_database GROUP BY xmin) AS g
UNION ALL
SELECT 'tablespace', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_tablespace GROUP BY xmin) AS g
