-- Functions that did not come with the server: what a plan calls is known by these. A relation and a
-- function may have the same number, so a function's has one bit more. What one in C is called within
-- its library stands in prosrc.
SELECT p.oid::bigint + %(bit)s AS oid, n.nspname AS schema, p.proname AS name,
       CASE l.lanname WHEN 'c' THEN 'C' ELSE '-' END AS kind, '{}'::bigint[] AS parents,
       CASE l.lanname WHEN 'c' THEN p.prosrc END AS symbol
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.oid >= 16384 AND (%(all)s OR p.oid = ANY (%(wanted)s::oid[]))
ORDER BY p.oid DESC
LIMIT %(most)s
