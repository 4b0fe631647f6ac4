-- Client connections that are encrypted or not, and the certificate that the server has verified.
-- All NULL but the pid where the role may not see other roles' sessions.
SELECT
    a.pid,
    (extract(epoch FROM a.backend_start) * 1000000)::bigint AS started_at_us,
    s.ssl,
    s.client_dn
FROM pg_catalog.pg_stat_activity AS a
LEFT JOIN pg_catalog.pg_stat_ssl AS s ON s.pid = a.pid
WHERE a.pid = ANY(%(pids)s::int[])
    OR (extract(epoch FROM a.backend_start) * 1000000)::bigint = ANY(%(starts)s::bigint[])
