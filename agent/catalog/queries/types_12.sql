-- Enums, domains, composite types, ranges and base types; not the row types of tables, nor arrays.
SELECT quote_ident(n.nspname) || '.' || quote_ident(t.typname) AS name,
       t.oid::bigint AS oid,
       ARRAY(
           SELECT a.attnum FROM pg_catalog.pg_attribute AS a
           WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0
             AND NOT a.attisdropped
           ORDER BY a.attnum) AS columns,
       ARRAY(
           SELECT k.oid::bigint FROM pg_catalog.pg_constraint AS k
           WHERE k.contypid = t.oid AND k.contype <> 'n'
           ORDER BY k.conname COLLATE "C") AS constraints,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(t.typowner),
               'kind: ' || CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain'
                                          WHEN 'c' THEN 'composite' WHEN 'r' THEN 'range'
                                          ELSE 'base' END,
               CASE WHEN t.typtype = 'e'
                    THEN 'labels: ' || coalesce((
                        SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                        FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t.oid), '') END,
               CASE WHEN t.typtype = 'd' AND t.typnotnull THEN 'not null: yes' END,
               CASE WHEN t.typtype = 'd' THEN 'default: ' || t.typdefault END,
               CASE WHEN t.typtype = 'r'
                    THEN 'subtype: ' || (SELECT format_type(r.rngsubtype, NULL)
                                         FROM pg_catalog.pg_range AS r
                                         WHERE r.rngtypid = t.oid) END,
               CASE WHEN t.typtype = 'b' THEN 'input: ' || t.typinput::regproc::text END,
               CASE WHEN t.typtype = 'b' THEN 'output: ' || t.typoutput::regproc::text END
           ], NULL)
       || CASE WHEN t.typtype = 'd'
               THEN ARRAY['base: ' || nullif(format_type(t.typbasetype, t.typtypmod), '???')]
               ELSE '{}' END
       || coalesce((
           SELECT array_agg('constraint ' || quote_ident(k.conname) || ': '
                            || pg_get_constraintdef(k.oid) ORDER BY k.conname COLLATE "C")
           FROM pg_catalog.pg_constraint AS k
           WHERE k.contypid = t.oid AND k.contype <> 'n'), '{}')
       || coalesce((
           SELECT array_agg('column ' || quote_ident(a.attname) || ': '
                            || nullif(format_type(a.atttypid, a.atttypmod), '???')
                            ORDER BY a.attnum)
           FROM pg_catalog.pg_attribute AS a
           WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0
             AND NOT a.attisdropped), '{}') AS lines
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
WHERE t.oid >= 16384
  AND t.typtype IN ('b', 'c', 'd', 'e', 'r')
  AND (t.typtype <> 'c' OR c.relkind = 'c')
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_type AS e WHERE e.typarray = t.oid)
  AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
