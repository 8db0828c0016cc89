#!lua flags=allow-oom
-- Remove expired answers, the oldest first. Returns 0 if the gate is closed.
-- ARGV: now, maximum of answers.

local epoch, keys = opened()
if not epoch then
  return 0
end
local due = redis.call('ZRANGEBYSCORE', keys .. 'expires', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, order in ipairs(due) do
  redis.call('ZREM', keys .. 'expires', order)
  redis.call('HDEL', keys .. 'answers', order)
end
return 1
