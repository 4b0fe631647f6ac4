-- Settings as the server has them. A value that this session set itself says nothing of the server:
-- reset_val is what it would be without; what came with the connection ('client') is left out.
-- Nor does what ALTER ROLE and ALTER DATABASE stored for sessions like ours (own).
SELECT s.name,
       CASE s.source WHEN 'session' THEN s.reset_val ELSE s.setting END AS setting,
       coalesce(s.unit, '') AS unit,
       s.vartype AS type,
       s.boot_val AS built_in,
       s.source,
       coalesce(s.sourcefile, '') AS sourcefile,
       coalesce(s.sourceline, 0) AS sourceline,
       s.pending_restart,
       lower(s.name) IN (
           SELECT lower(split_part(entry.text, '=', 1))
           FROM pg_catalog.pg_db_role_setting AS d
           CROSS JOIN LATERAL unnest(d.setconfig) AS entry(text)
           WHERE d.setrole IN (0, (SELECT r.oid FROM pg_catalog.pg_roles AS r
                                   WHERE r.rolname = session_user))
             AND d.setdatabase IN (0, (SELECT b.oid FROM pg_catalog.pg_database AS b
                                       WHERE b.datname = current_database()))
       ) AS own
FROM pg_catalog.pg_settings AS s
WHERE s.source <> 'client'
ORDER BY s.name COLLATE "C"
