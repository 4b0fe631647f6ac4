-- From 16 on a membership says whether it is inherited and may be assumed, once for each grantor.
SELECT g.rolname AS role,
       m.rolname AS member,
       concat_ws(
           ' ',
           CASE WHEN bool_or(a.admin_option) THEN 'admin' ELSE 'member' END,
           CASE WHEN NOT bool_or(a.inherit_option) THEN 'noinherit' END,
           CASE WHEN NOT bool_or(a.set_option) THEN 'noset' END
       ) AS options,
       string_agg(by.rolname, ', ' ORDER BY by.rolname) AS grantor
FROM pg_catalog.pg_auth_members AS a
JOIN pg_catalog.pg_roles AS g ON g.oid = a.roleid
JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
LEFT JOIN pg_catalog.pg_roles AS by ON by.oid = a.grantor
GROUP BY 1, 2
ORDER BY 1, 2
