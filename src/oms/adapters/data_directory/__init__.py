"""The directory of an embedded system: who may read it, and whether its files belong together."""
