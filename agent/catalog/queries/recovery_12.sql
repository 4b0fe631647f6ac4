-- A standby, or a server that restores an archive: what differs there was done elsewhere.
SELECT pg_is_in_recovery() AS recovers
