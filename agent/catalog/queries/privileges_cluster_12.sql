-- Privileges on databases, defaults included (PUBLIC may connect), the owner's own left out.
SELECT 'database' AS type,
       d.datname AS object,
       coalesce(r.rolname, 'PUBLIC') AS grantee,
       a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END AS privilege,
       coalesce(o.rolname, '') AS owner
FROM pg_catalog.pg_database AS d
CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = d.datdba
WHERE a.grantee <> d.datdba
ORDER BY 1, 2, 3, 4
