#!lua flags=no-writes
-- Return the open epoch and the prefix of its keys; nil if the gate is closed.

local epoch, keys = opened()
return epoch and { epoch, keys }
