"""Runs a system in a process: threads, wake-ups, adaptive batching, start-up and the health of the process."""
