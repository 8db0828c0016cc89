#!lua
-- Hold every line or none; stores the answer unless a product is unknown or a quantity invalid.
-- ARGV: now, order, largest quantity, epoch that is required or '', then product and quantity of each line, sorted by
-- product. The caller sorts, because Lua's `<` compares text by the server's locale.

local epoch, keys = opened()
if not epoch or (ARGV[4] ~= '' and tonumber(ARGV[4]) ~= epoch) then
  return { 'CLOSED', 0 }
end
local order, most = ARGV[2], tonumber(ARGV[3])
expire(keys, order, ARGV[1])
local stored = redis.call('HGET', keys .. 'answers', order)
if stored then
  local answer = words(stored)
  if answer[1] == 'REJECTED' then
    table.insert(answer, 2, epoch)
    return answer
  end
  return { answer[1], epoch }
end

local products, summed = {}, {}
for i = 5, #ARGV, 2 do
  local product, quantity = ARGV[i], ARGV[i + 1]
  if not string.find(quantity, '^[0-9]+$') or tonumber(quantity) < 1 then
    return { 'INVALID', epoch }
  end
  if not summed[product] then
    products[#products + 1], summed[product] = product, 0
  end
  summed[product] = summed[product] + tonumber(quantity)
  if summed[product] > most then
    return { 'INVALID', epoch }
  end
end

local unknown, short, held = { 'UNKNOWN', epoch }, { 'REJECTED', epoch }, { 'HELD' }
for _, product in ipairs(products) do
  local available = redis.call('HGET', keys .. 'available', product)
  local wanted = string.format('%.0f', summed[product])
  if not available then
    unknown[#unknown + 1] = product
  elseif tonumber(available) < summed[product] then
    short[#short + 1] = product
    short[#short + 1] = wanted
    short[#short + 1] = tonumber(available) > 0 and available or '0'
  end
  held[#held + 1] = product
  held[#held + 1] = wanted
end
if #unknown > 2 then
  return unknown
end
if #short > 2 then
  redis.call('HSET', keys .. 'answers', order, 'REJECTED ' .. table.concat(short, ' ', 3))
  return short
end
for i = 2, #held, 2 do
  redis.call('HINCRBY', keys .. 'available', held[i], '-' .. held[i + 1])
end
redis.call('HSET', keys .. 'answers', order, table.concat(held, ' '))
return { 'HELD', epoch }
