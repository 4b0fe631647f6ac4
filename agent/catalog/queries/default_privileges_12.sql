-- ALTER DEFAULT PRIVILEGES: what objects that a role makes from now on will grant.
SELECT 'default' AS type,
       CASE d.defaclobjtype
           WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
           WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE d.defaclobjtype::text
       END || ' of ' || coalesce(w.rolname, d.defaclrole::text)
           || coalesce(' in ' || quote_ident(n.nspname), '') AS object,
       coalesce(r.rolname, 'PUBLIC') AS grantee,
       a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END AS privilege,
       coalesce(w.rolname, '') AS owner
FROM pg_catalog.pg_default_acl AS d
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
LEFT JOIN pg_catalog.pg_roles AS w ON w.oid = d.defaclrole
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
WHERE a.grantee <> d.defaclrole
ORDER BY 1, 2, 3, 4
