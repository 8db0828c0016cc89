#!lua
-- Add units of known products, once for each key; no effect in another epoch. Returns 0 if the gate is closed.
-- ARGV: epoch, then key, product and delta of each. The key is stored after the addition, so that a delta that can't be
-- added is an error each time.

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
