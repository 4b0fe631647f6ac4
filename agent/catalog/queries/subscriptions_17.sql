-- Subscriptions of this database. What they connect with is asked for by itself: few may see it.
SELECT quote_ident(s.subname) AS name,
       s.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(s.subowner),
               'enabled: ' || CASE WHEN s.subenabled THEN 'yes' ELSE 'no' END,
               'slot: ' || s.subslotname,
               'publications: ' || array_to_string(s.subpublications, ', '),
               CASE WHEN s.subsynccommit <> 'off'
                    THEN 'synchronous commit: ' || s.subsynccommit END,
               CASE WHEN s.subdisableonerr THEN 'disable on error: yes' END,
               CASE WHEN s.suborigin <> 'any' THEN 'origin: ' || s.suborigin END,
               CASE WHEN NOT s.subpasswordrequired THEN 'password required: no' END,
               CASE WHEN s.subrunasowner THEN 'run as owner: yes' END,
               CASE WHEN s.subfailover THEN 'failover: yes' END
           ], NULL) AS lines
FROM pg_catalog.pg_subscription AS s
WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
