#!lua
-- Write a part of what a rebuild writes; 0 where another rebuild has taken its place.
-- ARGV: how the keys begin, `available` or `answers`, then fields and values.

if redis.call('HGET', KEYS[1], 'keys') ~= ARGV[1] then
  return 0
end
redis.call('HSET', ARGV[1] .. ARGV[2], unpack(ARGV, 3))
return 1
