#!lua
-- Add once for a key; nothing in another epoch; an unknown product stays unknown; 0 where closed.
-- ARGV: epoch, then key, product and delta. The key is kept last: a delta that can't be added is an error, not a repeat.

local epoch, keys = opened()
if not epoch then
  return 0
end
if epoch == tonumber(ARGV[1]) then
  for i = 2, #ARGV, 3 do
    local key, product, delta = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if redis.call('HEXISTS', keys .. 'deltas', key) == 0 then
      if redis.call('HEXISTS', keys .. 'available', product) == 1 then
        redis.call('HINCRBY', keys .. 'available', product, delta)
      end
      redis.call('HSET', keys .. 'deltas', key, '1')
    end
  end
end
return 1
