#!/bin/sh
# Starts the image's own redis-server with an access list made from REDIS_PASSWORD or REDIS_PASSWORD_FILE; only the
# password's hash is written, to memory.
set -eu
if [ -n "${REDIS_PASSWORD_FILE:-}" ]; then REDIS_PASSWORD=$(cat "$REDIS_PASSWORD_FILE"); fi
if [ -z "${REDIS_PASSWORD:-}" ]; then
  echo "REDIS_PASSWORD is missing; set it, or REDIS_PASSWORD_FILE" >&2
  exit 1
fi
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d' ' -f1)
unset REDIS_PASSWORD

# oms: the rights of `oms.adapters.redis.ACL_RULES`, so no FLUSHALL, CONFIG or KEYS. health: PING, for the health check.
cat > /run/oms/users.acl <<EOF
user default off
user oms on #$hash resetkeys ~oms:{stock}:* resetchannels -@all +evalsha +script|load +info +select +hdel +hexists +hget +hincrby +hmget +hscan +hset +hsetnx +unlink +zadd +zrangebyscore +zrem +zscore
user health on nopass resetkeys resetchannels -@all +ping
EOF
chown redis /run/oms/users.acl
exec docker-entrypoint.sh redis-server /etc/oms/redis.conf --aclfile /run/oms/users.acl
