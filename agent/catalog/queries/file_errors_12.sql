-- Lines of the configuration files that the server could not use: it goes on with what it had.
SELECT coalesce(f.name, '') AS name,
       coalesce(f.error, '') AS error,
       f.sourcefile,
       f.sourceline
FROM pg_catalog.pg_file_settings AS f
WHERE f.error IS NOT NULL AND f.error <> 'setting could not be applied'
   OR (f.error = 'setting could not be applied'
       AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_settings AS s
                       WHERE s.name = lower(f.name) AND s.context = 'postmaster'))
ORDER BY f.sourcefile COLLATE "C", f.sourceline
