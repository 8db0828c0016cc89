#!lua flags=allow-oom
-- Begin a rebuild: close the gate, remove its data and write the new head. Returns 0, or the gate's epoch if that is
-- later and was built on this server. ARGV: epoch, prefix of the new keys.

local head = redis.call('HMGET', KEYS[1], 'epoch', 'keys', 'run_id', 'replid')
local epoch, keys = head[1], head[2]
if epoch and tonumber(epoch) > tonumber(ARGV[1]) and built_here(head[3], head[4]) then
  return tonumber(epoch)
end
if keys then
  redis.call('UNLINK', keys .. 'available', keys .. 'answers', keys .. 'expires', keys .. 'deltas')
end
local info = redis.call('INFO', 'server', 'replication')
local run_id, replid = string.match(info, 'run_id:(%x+)'), string.match(info, 'master_replid:(%x+)')
if not (run_id and replid) then
  return redis.error_reply('NOIDENTITY this server does not tell its run id and replication id')
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'keys', ARGV[2], 'run_id', run_id, 'replid', replid)
return 0
