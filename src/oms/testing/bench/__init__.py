"""`oms bench`: how fast a system runs orders, beside the bare drivers doing the same rows and messages.

`floor` is the bare drivers, `deployment` the system that is measured, `load` who asks it, `watch` what came of it,
`usage` what it cost, `report` and `charts` how that is shown. Nothing is imported before the command runs.
"""
