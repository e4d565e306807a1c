-- try_lock --
-- Whether this session is the one that keeps the store up, until it ends. 'flw' in ASCII.
SELECT pg_try_advisory_lock(6712439, 4);
