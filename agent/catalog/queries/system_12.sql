-- Which cluster this is: initdb gives each a number of its own, and a copy of its files keeps it.
SELECT system_identifier::text AS identifier FROM pg_catalog.pg_control_system()
