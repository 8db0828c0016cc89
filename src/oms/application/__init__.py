"""The handlers, and what drives them: consumer, relay, tasks and command groups, each by `run_once()`."""
