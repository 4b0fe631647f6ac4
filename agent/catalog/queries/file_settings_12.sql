-- What the configuration files say and the server took, the last line for each name.
SELECT DISTINCT ON (lower(f.name)) lower(f.name) AS name, f.setting, f.sourcefile, f.sourceline
FROM pg_catalog.pg_file_settings AS f
WHERE f.applied
ORDER BY lower(f.name), f.seqno DESC
