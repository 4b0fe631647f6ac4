-- Privileges on what belongs to the whole cluster, defaults included (PUBLIC may connect to a
-- database), the owner's own left out.
WITH objects AS (
    SELECT 'database' AS type, quote_ident(d.datname) AS object, d.datdba AS owner,
           coalesce(d.datacl, acldefault('d', d.datdba)) AS acl
    FROM pg_catalog.pg_database AS d
    UNION ALL
    SELECT 'tablespace', quote_ident(t.spcname), t.spcowner, t.spcacl
    FROM pg_catalog.pg_tablespace AS t
    UNION ALL
    -- GRANT SET ON PARAMETER; what no role owns belongs to the bootstrap superuser, 10.
    SELECT 'parameter', p.parname, 10, p.paracl
    FROM pg_catalog.pg_parameter_acl AS p
)
SELECT o.type,
       o.object,
       coalesce(r.rolname, 'PUBLIC') AS grantee,
       a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END AS privilege,
       coalesce(w.rolname, '') AS owner
FROM objects AS o
CROSS JOIN LATERAL aclexplode(o.acl) AS a
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
LEFT JOIN pg_catalog.pg_roles AS w ON w.oid = o.owner
WHERE a.grantee <> o.owner
ORDER BY 1, 2, 3, 4
