#!lua
-- Open the gate after a rebuild. Returns 0 if another rebuild has begun, or the server has changed.
-- ARGV: prefix of the keys.

local head = redis.call('HMGET', KEYS[1], 'keys', 'run_id', 'replid')
if head[1] ~= ARGV[1] or not built_here(head[2], head[3]) then
  return 0
end
redis.call('HSET', KEYS[1], 'open', '1')
return 1
