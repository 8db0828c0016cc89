#!lua
-- Run every command that the other scripts run, on a key of its own, and leave nothing.
-- A right that is missing in the middle of a take would leave it half done: it has to be seen before. KEYS[1]: the key.

local key = KEYS[1]
redis.call('INFO', 'server', 'replication')
redis.call('UNLINK', key)
redis.call('HSET', key, 'a', '1')
redis.call('HSETNX', key, 'b', '1')
redis.call('HINCRBY', key, 'a', '1')
redis.call('HGET', key, 'a')
redis.call('HMGET', key, 'a', 'b')
redis.call('HEXISTS', key, 'a')
redis.call('HDEL', key, 'a')
redis.call('UNLINK', key)
redis.call('ZADD', key, 'NX', '1', 'a')
redis.call('ZSCORE', key, 'a')
redis.call('ZRANGEBYSCORE', key, '-inf', '1', 'LIMIT', 0, 1)
redis.call('ZREM', key, 'a')
redis.call('UNLINK', key)
return 1
