-- Functions, procedures and aggregates that somebody made, and built-in ones that are no longer as
-- initdb made them. A body leaves the server as a hash, unless it is asked for.
SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname)
           || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name,
       p.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(p.proowner),
               'language: ' || quote_ident(l.lanname),
               'kind: ' || CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate'
                                          WHEN 'w' THEN 'window' ELSE 'function' END,
               'returns: ' || pg_get_function_result(p.oid),
               CASE WHEN p.pronargdefaults > 0
                    THEN 'arguments: ' || pg_get_function_arguments(p.oid) END,
               CASE WHEN p.prosecdef THEN 'security: definer' END,
               'volatility: ' || CASE p.provolatile WHEN 'i' THEN 'immutable'
                                                    WHEN 's' THEN 'stable' ELSE 'volatile' END,
               CASE WHEN p.proleakproof THEN 'leakproof: yes' END,
               CASE WHEN p.proisstrict THEN 'strict: yes' END,
               CASE p.proparallel WHEN 's' THEN 'parallel: safe'
                                  WHEN 'r' THEN 'parallel: restricted' END
           ], NULL)
       || ARRAY[
           'body: sha256:' || left(encode(sha256(textsend(
               CASE WHEN p.prokind = 'a'
                    THEN (SELECT concat_ws(' ', g.aggkind, g.aggtransfn, g.aggfinalfn,
                                           g.aggcombinefn, g.aggmtransfn, g.aggsortop::regoperator,
                                           format_type(g.aggtranstype, NULL), g.agginitval)
                          FROM pg_catalog.pg_aggregate AS g WHERE g.aggfnoid = p.oid)
                    ELSE concat_ws(' ', p.probin, p.prosrc) END
           )), 'hex'), 16)
       ] AS lines,
       coalesce(p.proconfig, '{}') AS settings,
       CASE WHEN %(bodies)s AND p.prokind <> 'a' THEN concat_ws(' ', p.probin, p.prosrc) ELSE '' END
           AS body,
       NULL::bigint AS parsed
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
WHERE (p.oid >= 16384 OR p.prosecdef OR p.proconfig IS NOT NULL OR p.proowner <> 10
       OR l.lanname NOT IN ('internal', 'c', 'sql'))
  AND n.nspname !~ '^pg_temp'
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
