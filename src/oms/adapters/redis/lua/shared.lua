-- Functions that every script begins with. KEYS[1] is the head: the epoch, how its keys begin, and where it was built.
-- Each script is one rule of oms.adapters.memory.gate_rules; numbers and `now` come from the caller.
--
-- The server is asked who it is in every call, not once a connection: a connection outlives a change of the
-- replication id, and a client may reconnect between two commands of a batch.

local function built_here(run_id, replid)
  local info = redis.call('INFO', 'server', 'replication')
  return string.find(info, 'run_id:' .. run_id, 1, true)
    and string.find(info, 'master_replid:' .. replid, 1, true)
end

-- The epoch and how its keys begin; nothing where the gate is closed.
local function opened()
  local head = redis.call('HMGET', KEYS[1], 'open', 'epoch', 'keys', 'run_id', 'replid')
  if head[1] and built_here(head[4], head[5]) then
    return tonumber(head[2]), head[3]
  end
end

-- Forget an order's answer whose time is over.
local function expire(keys, order, now_ms)
  local until_ms = redis.call('ZSCORE', keys .. 'expires', order)
  if until_ms and tonumber(until_ms) <= tonumber(now_ms) then
    redis.call('ZREM', keys .. 'expires', order)
    redis.call('HDEL', keys .. 'answers', order)
  end
end

local function words(text)
  local found = {}
  for word in string.gmatch(text, '%S+') do
    found[#found + 1] = word
  end
  return found
end
