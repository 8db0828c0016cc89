"""Checks of a shop's own code: its methods when it is passed in, and every answer when it is called.

The container wraps each extension, so that the same checks apply to arguments, to extensions named by an import path,
and to built-in ones.
"""
