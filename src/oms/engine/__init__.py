"""Reliable delivery that knows no aggregate: consumer, unit of work, outbox, relay, tasks, commands, dead letters.

Every active part advances by `run_once()`; `assembly` creates those of one service.
"""
