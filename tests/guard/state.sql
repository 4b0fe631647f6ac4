-- Everything that the corpus may not change, as one JSON object: what an attack changed is the keys
-- that differ. Schema attack, temporary objects and statistics are left out.
WITH rel AS (
  SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
  WHERE n.nspname IN ('hr', 'shop', 'public')
)
SELECT json_build_object(
  'rows', (SELECT json_object_agg(oid::regclass, md5(query_to_xml(format(
      'SELECT count(*), sum(hashtext(t::text)::bigint) FROM %s t', oid::regclass), false, false, '')::text))
    FROM rel WHERE relkind IN ('r', 'm') AND relispopulated),
  'relations', (SELECT json_object_agg(oid::regclass, md5(concat_ws('|', relkind, relowner::regrole,
      relpersistence, relrowsecurity, relforcerowsecurity, relispartition, relacl::text, reloptions::text,
      reltablespace, relreplident, relispopulated,
      (SELECT array_agg((inhparent::regclass, pg_get_expr(rel.relpartbound, rel.oid))::text)
       FROM pg_inherits WHERE inhrelid = rel.oid),
      (SELECT string_agg(concat_ws(',', attname, format_type(atttypid, atttypmod), attnotnull, attisdropped,
          attacl::text, attidentity, attgenerated), ';' ORDER BY attnum)
       FROM pg_attribute WHERE attrelid = rel.oid AND attnum > 0),
      (SELECT string_agg(pg_get_expr(adbin, adrelid), ';' ORDER BY adnum) FROM pg_attrdef WHERE adrelid = rel.oid),
      (SELECT string_agg(conname || pg_get_constraintdef(c.oid), ';' ORDER BY conname)
       FROM pg_constraint c WHERE conrelid = rel.oid),
      (SELECT string_agg(concat_ws(',', tgname, tgenabled, tgfoid::regproc, tgqual IS NULL), ';' ORDER BY tgname)
       FROM pg_trigger WHERE tgrelid = rel.oid AND NOT tgisinternal),
      (SELECT string_agg(concat_ws(',', rulename, ev_enabled, md5(pg_get_ruledef(r.oid))), ';' ORDER BY rulename)
       FROM pg_rewrite r WHERE ev_class = rel.oid),
      (SELECT string_agg(concat_ws(',', polname, polroles::text, pg_get_expr(polqual, polrelid)), ';' ORDER BY polname)
       FROM pg_policy WHERE polrelid = rel.oid),
      (SELECT string_agg(label, ';') FROM pg_seclabel WHERE objoid = rel.oid)))) FROM rel),
  'sequences', (SELECT json_object_agg(schemaname || '.' || sequencename, concat_ws(',', last_value, increment_by))
    FROM pg_sequences WHERE schemaname <> 'attack'),
  'functions', (SELECT json_object_agg(p.oid::regprocedure, md5(concat_ws('|', prosrc, proowner::regrole, prosecdef,
      proacl::text, proconfig::text, probin, prolang))) FROM pg_proc p
    WHERE pronamespace::regnamespace::text IN ('hr', 'shop', 'public') AND NOT EXISTS (
      SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')),
  'builtin_languages', (SELECT count(*) FROM pg_proc p JOIN pg_language l ON l.oid = prolang
    WHERE pronamespace = 'pg_catalog'::regnamespace AND lanname <> 'internal'),
  'builtin_functions', (SELECT md5(string_agg(concat_ws(',', oid, proacl::text, prosecdef, proowner), ';' ORDER BY oid))
    FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND (proacl IS NOT NULL OR oid > 16383)),
  'types', (SELECT md5(string_agg(concat_ws(',', typname, typowner, typacl::text), ';' ORDER BY typname)) FROM pg_type
    WHERE typnamespace::regnamespace::text IN ('hr', 'shop', 'public')),
  'enums', (SELECT md5(string_agg(enumlabel, ';' ORDER BY oid)) FROM pg_enum),
  'schemas', (SELECT json_object_agg(nspname, concat_ws('|', nspowner::regrole, nspacl::text)) FROM pg_namespace
    WHERE nspname !~ '^(pg_temp|pg_toast|attack$)'),
  'default_acl', (SELECT md5(string_agg(concat(defaclrole::regrole, defaclnamespace, defaclacl::text), ';'))
    FROM pg_default_acl),
  'roles', (SELECT json_object_agg(rolname, md5(concat_ws('|', rolsuper, rolinherit, rolcreaterole, rolcreatedb,
      rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil))) FROM pg_authid),
  'members', (SELECT md5(string_agg(concat_ws(',', roleid::regrole, member::regrole, admin_option), ';'
      ORDER BY roleid, member)) FROM pg_auth_members),
  'role_settings', (SELECT md5(string_agg(concat_ws(',', setdatabase, setrole, setconfig::text), ';'
      ORDER BY setdatabase, setrole)) FROM pg_db_role_setting),
  'file_settings', (SELECT md5(string_agg(name || '=' || coalesce(setting, ''), ';' ORDER BY sourcefile, sourceline))
    FROM pg_file_settings),
  'databases', (SELECT json_object_agg(datname, concat_ws('|', datdba::regrole, datallowconn, datconnlimit,
      datacl::text, datistemplate)) FROM pg_database),
  'extensions', (SELECT md5(string_agg(extname || extversion, ';' ORDER BY extname)) FROM pg_extension),
  'languages', (SELECT md5(string_agg(concat(lanname, lanacl::text, lanpltrusted), ';' ORDER BY lanname))
    FROM pg_language),
  'event_triggers', (SELECT md5(string_agg(concat(evtname, evtenabled), ';' ORDER BY evtname)) FROM pg_event_trigger
    WHERE evtfoid NOT IN (SELECT oid FROM pg_proc WHERE pronamespace = 'attack'::regnamespace)),
  'foreign', (SELECT md5(concat((SELECT string_agg(fdwname, ';') FROM pg_foreign_data_wrapper),
      (SELECT string_agg(concat(srvname, srvoptions), ';' ORDER BY srvname) FROM pg_foreign_server),
      (SELECT string_agg(concat(umuser, umoptions), ';' ORDER BY umuser) FROM pg_user_mapping)))),
  'logical', (SELECT md5(concat((SELECT string_agg(concat_ws(',', pubname, pubinsert, pubupdate, pubdelete), ';'
      ORDER BY pubname) FROM pg_publication),
      (SELECT string_agg(concat(prpubid, ' ', prrelid), ';' ORDER BY prrelid) FROM pg_publication_rel),
      (SELECT string_agg(concat_ws(',', subname, subenabled, subslotname, subpublications::text), ';')
       FROM pg_subscription),
      (SELECT string_agg(slot_name, ';') FROM pg_replication_slots WHERE NOT temporary)))),
  'prepared', (SELECT count(*) FROM pg_prepared_xacts),
  'tablespaces', (SELECT md5(string_agg(spcname || coalesce(spcacl::text, ''), ';' ORDER BY spcname)) FROM pg_tablespace),
  'large_objects', (SELECT json_object_agg(oid, concat(lomowner::regrole, lomacl::text, md5(lo_get(oid))))
    FROM pg_largeobject_metadata),
  'comments', (SELECT md5(string_agg(description, ';' ORDER BY objoid, objsubid)) FROM pg_description
    WHERE objoid > 16383),
  'casts', (SELECT count(*) FROM pg_cast),
  'operators', (SELECT count(*) FROM pg_operator WHERE oprnamespace <> 'attack'::regnamespace),
  'loot', (SELECT md5(string_agg(name, ';' ORDER BY name)) FROM pg_ls_dir('{loot}') AS name)
)
