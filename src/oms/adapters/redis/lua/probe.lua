#!lua
-- Run every command that the other scripts run, on a key of its own, and leave nothing.
-- A right that is missing in the middle of a take would leave it half done: it has to be seen before. KEYS[1]: the key.

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
-- Redis gives a right that is missing within a script no error code of its own, so the probe gives it one.
for _, command in ipairs(commands) do
  if not redis.acl_check_cmd(unpack(command)) then
    return redis.error_reply('NOPERM the user of the gate has no right to ' .. command[1])
  end
  redis.call(unpack(command))
end
return 1
