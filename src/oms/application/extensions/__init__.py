"""The border to a shop's own code: extensions are refused at the door or called through a check of every answer.

`bootstrap.container_of` puts these wrappers around each extension, so that one given as an argument, one named by an
import path and a built-in one are checked alike.
"""
