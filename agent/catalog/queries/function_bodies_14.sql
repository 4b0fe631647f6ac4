-- Bodies that are parsed SQL, spelled out.
SELECT f.oid::bigint AS oid, pg_get_function_sqlbody(f.oid) AS text
FROM unnest(%(oids)s::oid[]) AS f(oid)
