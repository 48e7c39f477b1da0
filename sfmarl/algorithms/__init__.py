"""Learning rules, one file per family; the registry knows their presets by name."""

from sfmarl.algorithms.registry import AlgorithmEntry, get_algorithm, list_algorithms, register_algorithm

__all__ = ["AlgorithmEntry", "get_algorithm", "list_algorithms", "register_algorithm"]
