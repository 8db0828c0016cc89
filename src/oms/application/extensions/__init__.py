"""Checks of a shop's own code: its shape when it is given, and every answer when it is called.

The container wraps each extension, so that one given as an argument, one named by an import path and a built-in one are
checked alike.
"""
