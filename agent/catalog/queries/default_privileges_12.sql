-- ALTER DEFAULT PRIVILEGES: what objects that a role makes from now on will grant. Without a schema it
-- replaces what is built in, that PUBLIC may execute functions and use types: as with privileges of
-- objects this is no grant, and that it is gone is told.
WITH defaults AS (
    SELECT CASE d.defaclobjtype
               WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
               WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE d.defaclobjtype::text
           END || ' of ' || coalesce(w.rolname, d.defaclrole::text)
               || coalesce(' in ' || quote_ident(n.nspname), '') AS object,
           d.defaclrole AS maker,
           coalesce(w.rolname, '') AS owner,
           d.defaclacl AS acl,
           CASE WHEN d.defaclnamespace <> 0 THEN ''
                WHEN d.defaclobjtype = 'f' THEN 'EXECUTE'
                WHEN d.defaclobjtype = 'T' THEN 'USAGE' ELSE '' END AS usual
    FROM pg_catalog.pg_default_acl AS d
    LEFT JOIN pg_catalog.pg_roles AS w ON w.oid = d.defaclrole
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
)
SELECT 'default' AS type, d.object, coalesce(r.rolname, 'PUBLIC') AS grantee,
       a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END AS privilege, d.owner
FROM defaults AS d
CROSS JOIN LATERAL aclexplode(d.acl) AS a
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
WHERE a.grantee <> d.maker
  AND NOT (a.grantee = 0 AND a.privilege_type = d.usual AND NOT a.is_grantable)
UNION ALL
SELECT 'default', d.object, 'PUBLIC', '(revoked)', d.owner
FROM defaults AS d
WHERE d.usual <> ''
  AND NOT EXISTS (SELECT 1 FROM aclexplode(d.acl) AS a WHERE a.grantee = 0)
ORDER BY 1, 2, 3, 4
