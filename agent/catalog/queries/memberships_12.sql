SELECT g.rolname AS role,
       m.rolname AS member,
       CASE WHEN a.admin_option THEN 'admin' ELSE 'member' END AS options,
       coalesce(by.rolname, '') AS grantor
FROM pg_catalog.pg_auth_members AS a
JOIN pg_catalog.pg_roles AS g ON g.oid = a.roleid
JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
LEFT JOIN pg_catalog.pg_roles AS by ON by.oid = a.grantor
ORDER BY 1, 2, 4
