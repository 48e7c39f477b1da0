"""A run: planned, wired, supervised, seen through."""
