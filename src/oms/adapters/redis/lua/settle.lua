#!lua flags=allow-oom
-- Let the answers of orders expire; 0 where closed.
-- ARGV: now, when they expire, then orders. Goes on when memory is full, because it is a way out of that.

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
