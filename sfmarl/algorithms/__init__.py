"""Learning rules, one file per family; the registry knows their presets by name."""

from sfmarl.algorithms.registry import ALGORITHMS, AlgorithmEntry, get_algorithm, list_algorithms, register_algorithm

__all__ = ["ALGORITHMS", "AlgorithmEntry", "get_algorithm", "list_algorithms", "register_algorithm"]
