"""`oms bench`: measures how fast a system processes orders, and compares it with the bare drivers (the floor).

`floor` writes the same rows and messages with the bare drivers. `deployment` is the measured system, `load` places
orders, `watch` sees how they end, `usage` measures CPU time and memory, and `report` and `charts` show the results. No
module is imported before the command runs.
"""
