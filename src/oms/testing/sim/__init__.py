"""The simulator: runs the whole system in one process under many schedules, each determined by a tape of choices.

`scope` is the size of a system and the faults that may happen, `tape` the only source of randomness. `simulated_system`
builds the real services on the memory adapters, `run` runs one schedule to its end and checks the promises, `search`
runs many schedules, `shrink` reduces a failing schedule and `story` describes it.
"""
