-- What belongs to an extension and initdb did not make: whether its script made it, or somebody put it
-- there by ALTER EXTENSION ... ADD, the catalog does not say. So each is a line of the extension, by
-- the name that the item would have, with what makes it dangerous and a digest of its definition;
-- privileges, policies and triggers are items in any case. What is no item anywhere (operators, casts)
-- is counted and digested by its names.
WITH members AS MATERIALIZED (
    SELECT d.classid, d.objid, d.objsubid, quote_ident(e.extname) AS extension,
           e.extowner
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
      AND d.objid >= 16384
),
told AS (
    SELECT m.extension,
           'function ' || quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '('
               || regexp_replace(pg_get_function_identity_arguments(p.oid), '(^|, )IN ', '\1', 'g')
               || ')' AS name,
           concat_ws(', ',
               CASE WHEN p.prosecdef THEN 'security definer' END,
               CASE WHEN p.proleakproof THEN 'leakproof' END) AS words,
           p.proowner AS owner, m.extowner,
           concat_ws(' ', l.lanname, p.prokind, p.provolatile, p.proisstrict, p.proparallel,
                     p.proconfig, p.probin, p.prosrc) AS definition
    FROM members AS m
    JOIN pg_catalog.pg_proc AS p ON p.oid = m.objid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
    WHERE m.classid = 'pg_catalog.pg_proc'::regclass
    UNION ALL
    SELECT m.extension,
           CASE WHEN c.relkind = 'S' THEN 'sequence ' ELSE 'table ' END
               || quote_ident(n.nspname) || '.' || quote_ident(c.relname),
           CASE WHEN c.relforcerowsecurity AND c.relrowsecurity THEN 'row security forced'
                WHEN c.relrowsecurity THEN 'row security on'
                WHEN c.relkind IN ('r', 'p') THEN 'row security off' END,
           c.relowner, m.extowner,
           concat_ws(' ', c.relkind, c.relpersistence, c.reloptions, (
               SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
                                           a.attnotnull), ', ' ORDER BY a.attnum)
               FROM pg_catalog.pg_attribute AS a
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           ), (
               SELECT string_agg(concat_ws(' ', k.conname, pg_get_constraintdef(k.oid)), ', '
                                 ORDER BY k.conname COLLATE "C")
               FROM pg_catalog.pg_constraint AS k
               WHERE k.conrelid = c.oid AND k.contype NOT IN ('n', 't')
           ), (
               SELECT string_agg(concat_ws(' ', w.ev_enabled, pg_get_ruledef(w.oid)), ', '
                                 ORDER BY w.rulename COLLATE "C")
               FROM pg_catalog.pg_rewrite AS w WHERE w.ev_class = c.oid
           ))
    FROM members AS m
    JOIN pg_catalog.pg_class AS c ON c.oid = m.objid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE m.classid = 'pg_catalog.pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT m.extension, 'type ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname), '',
           t.typowner, m.extowner,
           concat_ws(' ', t.typtype, t.typnotnull, t.typdefault, t.typinput, t.typoutput)
    FROM members AS m
    JOIN pg_catalog.pg_type AS t ON t.oid = m.objid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
    WHERE m.classid = 'pg_catalog.pg_type'::regclass
    UNION ALL
    SELECT m.extension, 'event_trigger ' || quote_ident(t.evtname),
           CASE t.evtenabled WHEN 'O' THEN '' WHEN 'A' THEN 'always' WHEN 'R' THEN 'replica'
                             ELSE 'disabled' END,
           t.evtowner, m.extowner, concat_ws(' ', t.evtevent, t.evttags, t.evtfoid::regproc)
    FROM members AS m
    JOIN pg_catalog.pg_event_trigger AS t ON t.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_event_trigger'::regclass
    UNION ALL
    SELECT m.extension, 'schema ' || quote_ident(n.nspname), '', n.nspowner, m.extowner, ''
    FROM members AS m
    JOIN pg_catalog.pg_namespace AS n ON n.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_namespace'::regclass
    UNION ALL
    SELECT m.extension, 'language ' || quote_ident(l.lanname),
           CASE WHEN l.lanpltrusted THEN '' ELSE 'untrusted' END, l.lanowner, m.extowner, ''
    FROM members AS m
    JOIN pg_catalog.pg_language AS l ON l.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_language'::regclass
    UNION ALL
    SELECT m.extension, 'foreign_server ' || quote_ident(s.srvname), '', s.srvowner, m.extowner,
           concat_ws(' ', s.srvtype, s.srvversion)
    FROM members AS m
    JOIN pg_catalog.pg_foreign_server AS s ON s.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_foreign_server'::regclass
    UNION ALL
    SELECT m.extension, 'foreign_server wrapper ' || quote_ident(w.fdwname), '', w.fdwowner,
           m.extowner, concat_ws(' ', w.fdwhandler::regproc, w.fdwvalidator::regproc)
    FROM members AS m
    JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_foreign_data_wrapper'::regclass
),
others AS (
    SELECT m.extension, count(*) AS number,
           string_agg(o.type || ' ' || o.identity, E'\n' ORDER BY o.type, o.identity COLLATE "C")
               AS names
    FROM members AS m
    CROSS JOIN LATERAL pg_identify_object(m.classid, m.objid, m.objsubid) AS o
    WHERE m.classid NOT IN (
        'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_class'::regclass,
        'pg_catalog.pg_type'::regclass, 'pg_catalog.pg_event_trigger'::regclass,
        'pg_catalog.pg_namespace'::regclass, 'pg_catalog.pg_language'::regclass,
        'pg_catalog.pg_foreign_server'::regclass, 'pg_catalog.pg_foreign_data_wrapper'::regclass)
    GROUP BY m.extension
)
SELECT t.extension,
       'member ' || t.name || ': ' || concat_ws(', ', nullif(t.words, ''),
           CASE WHEN t.owner <> t.extowner THEN 'owner ' || pg_get_userbyid(t.owner) END,
           'sha256:' || left(encode(sha256(textsend(t.definition)), 'hex'), 16)) AS line
FROM told AS t
UNION ALL
SELECT o.extension, 'other members: ' || o.number || ', sha256:'
           || left(encode(sha256(textsend(o.names)), 'hex'), 16)
FROM others AS o
