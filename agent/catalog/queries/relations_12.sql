-- Tables, views, sequences and the like: their names, and what they are a partition or child of. The
-- ones asked for come with all that they descend from. What a toast table holds is its owner's; who
-- reads it does so by a name of its own, and seldom.
WITH RECURSIVE wanted (oid) AS (
    SELECT unnest(%(wanted)s::oid[])
    UNION
    SELECT i.inhparent FROM wanted w JOIN pg_catalog.pg_inherits i ON i.inhrelid = w.oid
)
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       CASE c.relkind
           WHEN 't' THEN ARRAY(SELECT o.oid::bigint FROM pg_catalog.pg_class o
                               WHERE o.reltoastrelid = c.oid)
           ELSE coalesce(p.parents, '{}')
       END AS parents
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (SELECT inhrelid, array_agg(inhparent::bigint ORDER BY inhseqno) AS parents
           FROM pg_catalog.pg_inherits GROUP BY inhrelid) p ON p.inhrelid = c.oid
WHERE (c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') OR (c.relkind = 't' AND NOT %(all)s))
  AND (%(all)s OR c.oid IN (SELECT oid FROM wanted))
ORDER BY c.oid DESC
LIMIT %(most)s
