"""Checks around the code that a shop brings along: what it returns is checked before it is used or stored."""
