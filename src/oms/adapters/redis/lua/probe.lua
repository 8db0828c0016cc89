#!lua
-- Run every command of the other scripts on a key of the probe, and remove the key. KEYS[1]: the key.
-- Without the right to one command, a take would stop half-way, so the start checks all of them.

local key = KEYS[1]
local commands = {
  { 'INFO', 'server', 'replication' },
  { 'UNLINK', key },
  { 'HSET', key, 'a', '1' },
  { 'HSETNX', key, 'b', '1' },
  { 'HINCRBY', key, 'a', '1' },
  { 'HGET', key, 'a' },
  { 'HMGET', key, 'a', 'b' },
  { 'HEXISTS', key, 'a' },
  { 'HDEL', key, 'a' },
  { 'UNLINK', key },
  { 'ZADD', key, 'NX', '1', 'a' },
  { 'ZSCORE', key, 'a' },
  { 'ZRANGEBYSCORE', key, '-inf', '1', 'LIMIT', '0', '1' },
  { 'ZREM', key, 'a' },
  { 'UNLINK', key },
}
-- Redis has no error code for a right that is missing within a script, so the probe adds one.
for _, command in ipairs(commands) do
  if not redis.acl_check_cmd(unpack(command)) then
    return redis.error_reply('NOPERM the user of the gate has no right to ' .. command[1])
  end
  redis.call(unpack(command))
end
return 1
