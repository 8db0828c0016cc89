#!lua
-- Write a part of the data of a rebuild. Returns 0 if another rebuild has begun.
-- ARGV: prefix of the keys, `available` or `answers`, then fields and values.

if redis.call('HGET', KEYS[1], 'keys') ~= ARGV[1] then
  return 0
end
redis.call('HSET', ARGV[1] .. ARGV[2], unpack(ARGV, 3))
return 1
