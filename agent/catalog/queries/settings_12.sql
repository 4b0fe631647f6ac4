-- Settings as the server has them. A value that this session set itself says nothing of the server:
-- reset_val is what it would be without; what came with the connection ('client') is left out.
SELECT s.name,
       CASE s.source WHEN 'session' THEN s.reset_val ELSE s.setting END AS setting,
       coalesce(s.unit, '') AS unit,
       s.source,
       coalesce(s.sourcefile, '') AS sourcefile,
       coalesce(s.sourceline, 0) AS sourceline,
       s.pending_restart
FROM pg_catalog.pg_settings AS s
WHERE s.source <> 'client'
ORDER BY s.name COLLATE "C"
