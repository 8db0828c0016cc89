"""The composition root: the only package that knows every adapter, and the only one that uses dependency-injector."""
