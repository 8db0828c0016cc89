"""Reliable delivery that knows no aggregate: consumer, unit of work, outbox, relay, tasks, commands, dead letters.

Every active part advances by `run_once()`; `assembly` puts the parts of one service together.
"""
