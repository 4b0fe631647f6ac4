-- The transactions of this database that have not ended. Anybody may read both views. A prepared one
-- is listed before its session's lock goes, so the locks are read first. What has written has a number
-- of its own; what defines a relation holds more than a writer's lock on it until the end.
WITH locks AS MATERIALIZED (
    SELECT pid, locktype, mode, virtualtransaction, transactionid
    FROM pg_catalog.pg_locks
    WHERE granted
), running AS MATERIALIZED (
    SELECT l.pid, l.virtualtransaction AS number, EXISTS (
        SELECT FROM locks w
        WHERE w.locktype = 'transactionid' AND w.mode = 'ExclusiveLock'
            AND w.virtualtransaction = l.virtualtransaction
    ) AS defines, 0::bigint AS prepared_us
    FROM locks l
    JOIN pg_catalog.pg_stat_get_activity(NULL) a ON a.pid = l.pid
    JOIN pg_catalog.pg_database d ON d.oid = a.datid
    WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock'
        AND d.datname = pg_catalog.current_database() AND l.pid <> pg_catalog.pg_backend_pid()
)
SELECT pid, number, defines, prepared_us FROM running
UNION ALL
SELECT 0, 'prepared ' || p.transaction, EXISTS (
    SELECT FROM pg_catalog.pg_locks x
    JOIN pg_catalog.pg_locks w USING (virtualtransaction)
    WHERE x.pid IS NULL AND x.locktype = 'transactionid' AND x.transactionid = p.transaction
        AND w.pid IS NULL AND w.locktype = 'relation' AND w.mode IN (
            'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
            'AccessExclusiveLock'
        )
), (extract(epoch FROM p.prepared) * 1000000)::bigint
FROM pg_catalog.pg_prepared_xacts p
WHERE p.database = pg_catalog.current_database()
