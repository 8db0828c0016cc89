"""The simulator: the whole system in one process under one tape of choices, searched through its schedules.

`scope` says how large a system is and which faults may happen, `tape` is the only source of chance, `system` puts the
real services over the memory adapters, `run` drives one schedule to its end and checks the promises, `search` goes
through many, `shrink` makes a failure small and `story` tells it.
"""
