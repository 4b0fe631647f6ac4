-- What this role may read. The server leaves out silently what pg_settings hides from it.
SELECT pg_has_role(current_user, 'pg_read_all_settings', 'USAGE') AS settings,
       has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')
       AND has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE')
           AS file_errors,
       has_table_privilege('pg_catalog.pg_hba_file_rules', 'SELECT')
       AND has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE') AS hba,
       has_table_privilege('pg_catalog.pg_ident_file_mappings', 'SELECT')
       AND has_function_privilege('pg_catalog.pg_ident_file_mappings()', 'EXECUTE') AS ident,
       has_table_privilege('pg_catalog.pg_user_mapping', 'SELECT') AS user_mappings,
       has_column_privilege('pg_catalog.pg_subscription', 'subconninfo', 'SELECT')
           AS subscriptions,
       has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS control
