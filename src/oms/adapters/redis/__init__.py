"""The stock gate on Redis 7 or later: one Lua call for each order, in front of the SQL ledger."""

from oms.adapters.redis.checks import ACL_RULES, check
from oms.adapters.redis.gate import RedisGate

__all__ = ["ACL_RULES", "RedisGate", "check"]
