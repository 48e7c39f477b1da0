"""Repeated normal-form games of two players, many copies at once, and played by persons."""
