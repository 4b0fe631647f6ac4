SELECT v.oid::bigint AS oid, pg_get_viewdef(v.oid) AS text
FROM unnest(%(oids)s::oid[]) AS v(oid)
