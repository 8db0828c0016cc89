-- The functions that precede every script. KEYS[1] is the head: the epoch, the prefix of its keys, and the server on
-- which it was built. Each script is one rule of oms.adapters.memory.gate_rules. Times are in milliseconds, and come from
-- the caller.
--
-- Every call checks the server's identity, not only the first on a connection: a connection outlives a change of the
-- replication id, and a client may reconnect between two commands of a pipeline.

local function built_here(run_id, replid)
  local info = redis.call('INFO', 'server', 'replication')
  return string.find(info, 'run_id:' .. run_id, 1, true)
    and string.find(info, 'master_replid:' .. replid, 1, true)
end

-- Return the epoch and the prefix of its keys; nothing if the gate is closed.
local function opened()
  local head = redis.call('HMGET', KEYS[1], 'open', 'epoch', 'keys', 'run_id', 'replid')
  if head[1] and built_here(head[4], head[5]) then
    return tonumber(head[2]), head[3]
  end
end

-- Remove the answer of an order if it has expired.
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
