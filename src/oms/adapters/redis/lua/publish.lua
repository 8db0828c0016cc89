#!lua
-- Open the gate under what was written; 0 where another rebuild, or another server, has taken its place.
-- ARGV: how the keys begin.

local head = redis.call('HMGET', KEYS[1], 'keys', 'run_id', 'replid')
if head[1] ~= ARGV[1] or not built_here(head[2], head[3]) then
  return 0
end
redis.call('HSET', KEYS[1], 'open', '1')
return 1
