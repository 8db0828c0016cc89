#!lua flags=allow-oom
-- Return the units that each order holds, and store RELEASED in any case. Returns 0 if the gate is closed.
-- ARGV: now, then orders. Runs even if Redis is full, because it helps to free memory.

local epoch, keys = opened()
if not epoch then
  return 0
end
for i = 2, #ARGV do
  local order = ARGV[i]
  expire(keys, order, ARGV[1])
  local answer = words(redis.call('HGET', keys .. 'answers', order) or '')
  if answer[1] == 'HELD' then
    for line = 2, #answer, 2 do
      if redis.call('HEXISTS', keys .. 'available', answer[line]) == 1 then
        redis.call('HINCRBY', keys .. 'available', answer[line], answer[line + 1])
      end
    end
  end
  redis.call('HSET', keys .. 'answers', order, 'RELEASED')
end
return 1
