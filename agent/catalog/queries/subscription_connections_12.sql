SELECT quote_ident(s.subname) AS name, s.subconninfo AS connection
FROM pg_catalog.pg_subscription AS s
WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
