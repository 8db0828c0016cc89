#!lua
-- Add unknown products; no effect in another epoch. Returns 0 if the gate is closed.
-- ARGV: epoch, then product and units of each.

local epoch, keys = opened()
if not epoch then
  return 0
end
if epoch == tonumber(ARGV[1]) then
  for i = 2, #ARGV, 2 do
    redis.call('HSETNX', keys .. 'available', ARGV[i], ARGV[i + 1])
  end
end
return 1
