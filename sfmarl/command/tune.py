"""`sfmarl tune`: how a run is best spread over this machine."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from sfmarl.command.arguments import config_of, given_settings, parse_run
from sfmarl.config import Config
from sfmarl.errors import UsageError


@dataclass
class TuneArguments(Config):
    """Measure environment, acting and learning, and choose workers, environments, splits, placement of inference and
    batch size for this machine. Settings that are given stay as they are; hyperparameters are never changed."""

    probe_seconds: float = 8.0
    """Time for measuring; starting the processes for it comes on top."""
    measure: bool = False
    """Train for a moment with the most promising arrangements and take the fastest."""
    trials: int = 3
    """How many of them (with `--measure`)."""
    trial_seconds: float = 6.0
    """Time for each, once its processes have started."""
    json: bool = False
    """Print one JSON object instead of sentences."""
    config: Path | None = None
    """Take the settings of an earlier run (its directory or config.json) as defaults."""


def tune(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse_run(TuneArguments, words, prog="sfmarl tune")
    from sfmarl.tuning.choose import TUNED
    from sfmarl.tuning.tune import tune

    if arguments.trials < 1 or not (arguments.probe_seconds > 0 and arguments.trial_seconds > 0):
        raise UsageError("tune needs --probe-seconds and --trial-seconds above 0 and at least 1 of --trials.")
    tuning = tune(
        config_of(arguments),
        given_settings(words, arguments, TUNED),
        probe_seconds=arguments.probe_seconds,
        trials=arguments.trials if arguments.measure else 0,
        trial_seconds=arguments.trial_seconds,
        tell=lambda text: print(f"{text} ...", file=sys.stderr, flush=True),
    )
    if arguments.json:
        print(json.dumps(tuning.to_json()))
    else:
        again = shlex.join(["sfmarl", "train", *_without_own(words), *tuning.flags()])
        print(*tuning.lines(), f"repeat: {again}", sep="\n")
    return 0


def _without_own(words: Sequence[str]) -> list[str]:
    """Return `words` without the flags that only this command has."""
    own = {f.name for f in fields(TuneArguments)} - {f.name for f in fields(Config)} - {"config"}
    kept, skipping = [], False
    for word in words:
        name = word.partition("=")[0].lstrip("-").replace("-", "_")
        if word.startswith("--"):
            flag = name.removeprefix("no_") in own
            skipping = flag and "=" not in word and name not in ("measure", "no_measure", "json", "no_json")
            if not flag:
                kept.append(word)
        elif skipping:
            skipping = False
        else:
            kept.append(word)
    return kept
