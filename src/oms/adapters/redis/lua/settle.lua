#!lua flags=allow-oom
-- Let the answers of orders expire. Returns 0 if the gate is closed.
-- ARGV: now, time of expiry, then orders. Runs even if Redis is full, because it helps to free memory.

local epoch, keys = opened()
if not epoch then
  return 0
end
for i = 3, #ARGV do
  local order = ARGV[i]
  expire(keys, order, ARGV[1])
  if redis.call('HEXISTS', keys .. 'answers', order) == 1 then
    redis.call('ZADD', keys .. 'expires', 'NX', ARGV[2], order)
  end
end
return 1
