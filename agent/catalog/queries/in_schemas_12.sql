-- A line of its schema for each collation, conversion, operator class and family, and object of text
-- search that somebody made, and two digests of what initdb made: casts and operators.
WITH members AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d
    WHERE d.deptype = 'e' AND d.classid IN (
        'pg_catalog.pg_collation'::regclass, 'pg_catalog.pg_conversion'::regclass,
        'pg_catalog.pg_opclass'::regclass, 'pg_catalog.pg_opfamily'::regclass,
        'pg_catalog.pg_ts_config'::regclass, 'pg_catalog.pg_ts_dict'::regclass,
        'pg_catalog.pg_ts_parser'::regclass, 'pg_catalog.pg_ts_template'::regclass)
),
told AS (
    -- A locale has a column of its own since 15, by another name since 17.
    SELECT 'pg_catalog.pg_collation'::regclass AS class, c.oid, c.collnamespace AS schema,
           'collation ' || quote_ident(c.collname) AS key,
           CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'c' THEN 'libc' WHEN 'b' THEN 'builtin'
                               ELSE 'default' END
               || ' ' || concat_ws(' ', coalesce(j.row ->> 'colllocale', j.row ->> 'colliculocale',
                                                 c.collcollate),
                                   nullif(c.collctype, c.collcollate), j.row ->> 'collicurules')
               || CASE WHEN c.collisdeterministic THEN '' ELSE ', not deterministic' END AS text,
           c.collowner AS owner
    FROM pg_catalog.pg_collation AS c
    CROSS JOIN LATERAL (SELECT to_jsonb(c) AS row) AS j
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_conversion'::regclass, c.oid, c.connamespace,
           'conversion ' || quote_ident(c.conname),
           pg_encoding_to_char(c.conforencoding) || ' to ' || pg_encoding_to_char(c.contoencoding)
               || ' by ' || c.conproc::regproc::text
               || CASE WHEN c.condefault THEN ', default' ELSE '' END,
           c.conowner
    FROM pg_catalog.pg_conversion AS c
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_opclass'::regclass, c.oid, c.opcnamespace,
           'operator class ' || quote_ident(c.opcname) || ' of ' || quote_ident(a.amname),
           format_type(c.opcintype, NULL) || ' in family ' || quote_ident(f.opfname)
               || CASE WHEN c.opcdefault THEN ', default' ELSE '' END,
           c.opcowner
    FROM pg_catalog.pg_opclass AS c
    JOIN pg_catalog.pg_am AS a ON a.oid = c.opcmethod
    JOIN pg_catalog.pg_opfamily AS f ON f.oid = c.opcfamily
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_opfamily'::regclass, f.oid, f.opfnamespace,
           'operator family ' || quote_ident(f.opfname) || ' of ' || quote_ident(a.amname),
           'sha256:' || left(encode(sha256(textsend(concat_ws(E'\n', (
               SELECT string_agg(concat_ws(' ', o.amopstrategy, o.amoppurpose,
                                           o.amopopr::regoperator), E'\n'
                                 ORDER BY o.amopstrategy, o.amopopr::regoperator::text COLLATE "C")
               FROM pg_catalog.pg_amop AS o WHERE o.amopfamily = f.oid
           ), (
               SELECT string_agg(concat_ws(' ', p.amprocnum, p.amproc::regprocedure), E'\n'
                                 ORDER BY p.amprocnum, p.amproc::regprocedure::text COLLATE "C")
               FROM pg_catalog.pg_amproc AS p WHERE p.amprocfamily = f.oid
           )))), 'hex'), 16),
           f.opfowner
    FROM pg_catalog.pg_opfamily AS f
    JOIN pg_catalog.pg_am AS a ON a.oid = f.opfmethod
    WHERE f.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_ts_config'::regclass, c.oid, c.cfgnamespace,
           'text search configuration ' || quote_ident(c.cfgname),
           'sha256:' || left(encode(sha256(textsend(concat_ws(E'\n', c.cfgparser::text, (
               SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapdict::regdictionary), E'\n'
                                 ORDER BY m.maptokentype, m.mapseqno)
               FROM pg_catalog.pg_ts_config_map AS m WHERE m.mapcfg = c.oid
           )))), 'hex'), 16),
           c.cfgowner
    FROM pg_catalog.pg_ts_config AS c
    WHERE c.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_ts_dict'::regclass, d.oid, d.dictnamespace,
           'text search dictionary ' || quote_ident(d.dictname),
           'of ' || quote_ident(t.tmplname) || ', sha256:'
               || left(encode(sha256(textsend(coalesce(d.dictinitoption, ''))), 'hex'), 16),
           d.dictowner
    FROM pg_catalog.pg_ts_dict AS d
    JOIN pg_catalog.pg_ts_template AS t ON t.oid = d.dicttemplate
    WHERE d.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_ts_parser'::regclass, p.oid, p.prsnamespace,
           'text search parser ' || quote_ident(p.prsname),
           concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype), NULL
    FROM pg_catalog.pg_ts_parser AS p
    WHERE p.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_ts_template'::regclass, t.oid, t.tmplnamespace,
           'text search template ' || quote_ident(t.tmplname),
           concat_ws(' ', t.tmplinit, t.tmpllexize), NULL
    FROM pg_catalog.pg_ts_template AS t
    WHERE t.oid >= 16384
)
SELECT quote_ident(n.nspname) AS schema,
       t.key || ': ' || concat_ws(', ', t.text, 'owner ' || pg_get_userbyid(t.owner)) AS line
FROM told AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.schema
WHERE n.nspname !~ '^pg_temp'
  AND NOT EXISTS (SELECT 1 FROM members AS m WHERE m.classid = t.class AND m.objid = t.oid)
UNION ALL
SELECT 'pg_catalog', 'built-in casts: sha256:' || left(encode(sha256(textsend(
           string_agg(concat_ws(' ', c.castsource, c.casttarget, c.castfunc::oid, c.castcontext,
                                c.castmethod), E'\n' ORDER BY c.castsource, c.casttarget)
       )), 'hex'), 16)
FROM pg_catalog.pg_cast AS c WHERE c.oid < 16384
UNION ALL
SELECT 'pg_catalog', 'built-in operators: sha256:' || left(encode(sha256(textsend(
           string_agg(concat_ws(' ', o.oprname, o.oprleft, o.oprright, o.oprresult, o.oprcode::oid,
                                o.oprcom, o.oprnegate, o.oprrest::oid, o.oprjoin::oid,
                                o.oprowner), E'\n' ORDER BY o.oid)
       )), 'hex'), 16)
FROM pg_catalog.pg_operator AS o WHERE o.oid < 16384
