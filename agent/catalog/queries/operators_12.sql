-- Operators that somebody made; those that others only announced (COMMUTATOR = ...) do nothing yet.
SELECT quote_ident(n.nspname) || '.' || o.oprname
           || '(' || CASE WHEN o.oprleft = 0 THEN 'NONE' ELSE format_type(o.oprleft, NULL) END
           || ', ' || CASE WHEN o.oprright = 0 THEN 'NONE' ELSE format_type(o.oprright, NULL) END
           || ')' AS name,
       o.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(o.oprowner),
               'function: ' || o.oprcode::regprocedure::text,
               'returns: ' || format_type(o.oprresult, NULL),
               CASE WHEN o.oprcom <> 0 THEN 'commutator: ' || o.oprcom::regoperator::text END,
               CASE WHEN o.oprnegate <> 0 THEN 'negator: ' || o.oprnegate::regoperator::text END,
               CASE WHEN o.oprrest <> 0 THEN 'restrict: ' || o.oprrest::regproc::text END,
               CASE WHEN o.oprjoin <> 0 THEN 'join: ' || o.oprjoin::regproc::text END,
               CASE WHEN o.oprcanhash THEN 'hashes: yes' END,
               CASE WHEN o.oprcanmerge THEN 'merges: yes' END
           ], NULL) AS lines
FROM pg_catalog.pg_operator AS o
JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
WHERE o.oid >= 16384 AND o.oprcode <> 0
  AND n.nspname !~ '^pg_temp'
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_operator'::regclass AND d.objid = o.oid
        AND d.deptype = 'e')
