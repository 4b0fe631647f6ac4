-- Nothing of where a slot stands: only that it is there, and what for.
SELECT quote_ident(s.slot_name) AS name,
       array_remove(
           ARRAY[
               'type: ' || s.slot_type,
               'plugin: ' || s.plugin,
               'database: ' || quote_ident(s.database),
               CASE WHEN s.two_phase THEN 'two phase: yes' END
           ], NULL) AS lines
FROM pg_catalog.pg_replication_slots AS s
WHERE NOT s.temporary
