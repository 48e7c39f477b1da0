"""`sfmarl compare`: learning curves and final scores of several runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sfmarl.command.arguments import parse


@dataclass
class CompareArguments:
    """Compare runs: a table of scores, and learning curves with 95 % intervals as a picture."""

    runs: tuple[str, ...]
    """Run directories or series of seeds, or LABEL=RUN to name (and group) them. Runs that differ only in their seed
    are one group."""
    out: Path | None = None
    """Directory for compare.png, compare.txt, compare.json and TensorBoard's picture [default: runs/compare-TIME]."""


def compare(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse(CompareArguments, words, prog="sfmarl compare")
    from sfmarl.results.compare import compare_runs

    comparison = compare_runs([_named(word) for word in arguments.runs], _warn)
    for text in comparison.warnings():
        _warn(text)
    print(comparison)
    out = arguments.out or Path("runs") / f"compare-{time.strftime('%Y%m%d-%H%M%S')}"
    print(f"{comparison.write(out)} (tensorboard --logdir {out})")
    return 0


def _named(word: str) -> tuple[str | None, Path]:
    """Split `LABEL=RUN`; an equals sign in an existing path separates nothing."""
    label, equals, path = word.partition("=")
    return (label, Path(path)) if equals and label and not Path(word).exists() else (None, Path(word))


def _warn(text: str) -> None:
    print(f"sfmarl: warning: {text}", file=sys.stderr)
