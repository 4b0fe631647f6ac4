-- Casts that somebody made. One that is implicit runs its function in statements that do not name it.
-- Types are named as the catalog has them: so does whatever speaks of a cast.
WITH types AS (
    SELECT t.oid,
           CASE WHEN n.nspname = 'pg_catalog' THEN '' ELSE quote_ident(n.nspname) || '.' END
               || quote_ident(coalesce(e.typname, t.typname))
               || CASE WHEN e.oid IS NULL THEN '' ELSE '[]' END AS name
    FROM pg_catalog.pg_type AS t
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_type AS e ON e.typarray = t.oid
)
SELECT s.name || ' AS ' || g.name AS name,
       c.oid::bigint AS oid,
       ARRAY[
           'context: ' || CASE c.castcontext WHEN 'i' THEN 'implicit' WHEN 'a' THEN 'assignment'
                                             ELSE 'explicit' END,
           'way: ' || CASE c.castmethod WHEN 'i' THEN 'with inout'
                                        WHEN 'b' THEN 'without function'
                                        ELSE 'with function ' || c.castfunc::regprocedure::text END
       ] AS lines
FROM pg_catalog.pg_cast AS c
JOIN types AS s ON s.oid = c.castsource
JOIN types AS g ON g.oid = c.casttarget
WHERE c.oid >= 16384
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  -- A range's cast to its multirange comes and goes with the type.
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'i')
