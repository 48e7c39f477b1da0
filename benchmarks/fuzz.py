"""Mutated command lines, settings files and checkpoints: no traceback, no hang, nothing executed, nothing overwritten.

    python benchmarks/fuzz.py                      # 10,000 inputs
    python benchmarks/fuzz.py --inputs 300 --seed 7 --only checkpoint

Everything happens in this process, in a temporary directory: command lines end with --dry-run, settings files and
checkpoints are given to train, resume, evaluate, compare and export. An answer is right if it is exit code 0, 1 or 2 (a
run that would begin is stopped there), 1 and 2 come with a message that is no traceback, nothing outside the run
directory was touched, nothing unpickled and no process started; and if a damaged checkpoint gave either its own weights
or, said aloud, those of the one before. Writes results/fuzz.{json,md} unless kinds are chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import machine
import torch
from fuzz_inputs import VALID, mutate_bytes, mutate_json_bytes, mutate_words
from fuzz_watch import Outcome, request, watch

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.command.arguments import LeagueArguments
from sfmarl.config import Config, LeagueConfig
from sfmarl.errors import RunError
from sfmarl.run.runner import train
from sfmarl.storage.checkpoint import checkpoint_paths, latest
from sfmarl.storage.checkpoint_reader import manifest_digest
from sfmarl.storage.durable import dump_json, hash_file

RESULTS = Path(__file__).parent / "results"
FLAGS = [
    f"--{f.name.replace('_', '-')}" for cls in (LeagueArguments, LeagueConfig, Hyperparameters) for f in fields(cls)
]
ENV_STEPS = 400
SHARES = {"flags": 0.4, "config": 0.25, "checkpoint": 0.35}
"""Of the inputs, by kind."""


@dataclass
class Tally:
    """What became of the inputs of one kind."""

    inputs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, case: str, outcome: Outcome) -> None:
        """Take note of one answer."""
        self.inputs += 1
        self.codes[str(outcome.code)] += 1
        self.slowest = max(self.slowest, outcome.seconds)
        if outcome.wrong:
            self.wrong.append({"case": case, "code": outcome.code, "wrong": outcome.wrong, "err": outcome.err[-2000:]})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        codes = dict(sorted(self.codes.items()))
        return {"inputs": self.inputs, "exits": codes, "slowest_seconds": round(self.slowest, 2), "wrong": self.wrong}


class Fuzzer:
    """A run with two checkpoints in a directory of its own, and mutated requests that concern it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "precious.txt").write_text("mine")
        self.base = folder / "runs" / "base"
        settings = Config(
            env="games/climbing", algo="ippo", mode="serial", num_workers=1, num_envs_per_worker=4, rollout=8,
            hp=Hyperparameters(critic="own", hidden=(8,), epochs=1, returns="vtrace"), env_steps=ENV_STEPS,
            eval_env_steps=0, eval_episodes=1, final_eval_episodes=0, log_seconds=1e9, quiet=True, run_dir=self.base,
        )  # fmt: skip
        train(settings)
        new, old = checkpoint_paths(self.base)
        self.new, self.old = new.name, old.name
        self.weights = {path.name: _weights(self.base) for path in (new,)}
        shutil.move(new, folder / "aside")
        self.weights[old.name] = _weights(self.base)
        shutil.move(folder / "aside", new)
        self.files = sorted(path.relative_to(self.base) for path in new.rglob("*") if path.is_file())

    def flags(self, rng: random.Random) -> tuple[str, Outcome]:
        """A mutated command line, as a dry run."""
        words = [*mutate_words(rng, list(rng.choice(VALID)), FLAGS), "--dry-run"]
        if words[0] not in ("train", "league"):
            words = ["train", *words]
        return " ".join(map(repr, words)), request(words)

    def config(self, rng: random.Random) -> tuple[str, Outcome]:
        """A mutated config.json, in the way of every command that reads it."""
        with self._copy() as run:
            path = run / "config.json"
            content = mutate_json_bytes(rng, path.read_bytes())
            path.write_bytes(content)
            words, allowed = rng.choice((
                (["train", "--config", str(run), "--dry-run"], []),
                (["resume", str(run), "--env-steps", "1000", "--wall-seconds", "0"], [run]),
                (["evaluate", str(run), "--episodes", "1"], []),
                (["compare", str(run), "--out", str(run / "out")], [run / "out"]),
            ))  # fmt: skip
            outcome = request(words, allowed)
            return f"{words[0]} {content[:3000]!r}", self._unharmed(run, outcome, (self.new, self.old))

    def checkpoint(self, rng: random.Random) -> tuple[str, Outcome]:
        """A damaged file of the newest checkpoint; sometimes with a manifest that says it is right."""
        with self._copy() as run:
            file = rng.choice(self.files)
            path = run / file
            mutate = mutate_json_bytes if path.suffix == ".json" else mutate_bytes
            content = mutate(rng, path.read_bytes())
            path.write_bytes(content)
            forged = path.name != "manifest.json" and rng.random() < 0.4
            if forged:
                _forge(path.parents[len(path.relative_to(run).parts) - 3])
            case = f"{file}{' forged' if forged else ''} {content[:300]!r}"
            if not forged and rng.random() < 0.5:
                return f"latest: {case}", self._read(run)
            words, starts = rng.choice((
                (["resume", str(run), "--env-steps", str(ENV_STEPS + 64), "--quiet"], True),
                (["evaluate", str(run), "--episodes", "1", "--checkpoint", "latest"], False),
                (["export", str(run), "--checkpoint", "latest", "--out", str(run / "out.pt")], False),
                (["train", "games/climbing", "--algo", "ippo", "--hidden", "8", "--init-from", str(run), "--dry-run"],
                 False),
            ))  # fmt: skip
            outcome = request(words, [run] if words[0] in ("resume", "export") else [], starts)
            return f"{words[0]}: {case}", self._unharmed(run, outcome, (self.old,))

    def _read(self, run: Path) -> Outcome:
        """What is read is this checkpoint or, said aloud, the one before, with the weights that were saved."""
        told: list[str] = []

        def read() -> str:
            try:
                found = latest(run, told.append)
            except RunError:
                return "refused"
            same = _same(_weights(run), self.weights[found.path.name])
            if not same or (found.path.name == self.old) != bool(told):
                return "wrong weights"
            return "own" if found.path.name == self.new else "previous"

        outcome = watch(read)
        if outcome.code not in ("own", "previous"):
            outcome.wrong.append(str(outcome.code))
        return outcome

    def _unharmed(self, run: Path, outcome: Outcome, names: tuple[str, ...]) -> Outcome:
        """Note whether a checkpoint that was whole is not as it was, or something of others has changed."""
        for name in names:
            for path in (self.base / "checkpoints" / name).rglob("*.*"):
                other = run / path.relative_to(self.base)
                if not other.is_file() or hash_file(other) != hash_file(path):
                    outcome.wrong.append(f"{path.relative_to(self.base)} was changed")
        if (self.folder / "precious.txt").read_text() != "mine" or (self.folder / "executed").exists():
            outcome.wrong.append("files of others were changed, or code was executed")
        return outcome

    @contextlib.contextmanager
    def _copy(self) -> Iterator[Path]:
        run = self.folder / "runs" / "case"
        shutil.copytree(self.base, run)
        try:
            yield run
        finally:
            shutil.rmtree(run, ignore_errors=True)


def _weights(run: Path) -> dict[str, torch.Tensor]:
    state = latest(run).read_policy("agent")
    return {**state.actor_tensors, **{f"learner.{n}": x for n, x in state.algorithm_state["tensors"].items()}}


def _same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


def _forge(checkpoint: Path) -> None:
    """Make the manifest say that everything is as it should be."""
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["sha256"]
    for name in manifest["files"]:
        sha256, size = hash_file(checkpoint / name)
        manifest["files"][name] = {"sha256": sha256, "bytes": size}
    manifest["sha256"] = manifest_digest(manifest)
    path.write_bytes(dump_json(manifest))


def fuzz(counts: dict[str, int], seed: int, tell: Callable[[str], None] = lambda text: None) -> dict[str, Tally]:
    """Try so many inputs of every kind; input n of a kind depends on `seed` and n alone."""
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    before, tallies = os.getcwd(), {}
    try:
        with tempfile.TemporaryDirectory(prefix="sfmarl-fuzz-") as folder:
            os.chdir(folder)
            fuzzer = Fuzzer(Path(folder))
            _warm_up(fuzzer)
            for kind, count in counts.items():
                tally = tallies[kind] = Tally()
                for number in range(count):
                    case, outcome = getattr(fuzzer, kind)(random.Random(f"{seed} {kind} {number}"))
                    tally.add(f"{number}: {case}", outcome)
                    if outcome.wrong:
                        tell(f"{kind} {number}: {case[:400]}\n  {outcome.wrong} {outcome.err[-400:]}")
                    if number % 500 == 499:
                        tell(f"{kind}: {number + 1} of {count}, {len(tally.wrong)} wrong")
    finally:
        os.chdir(before)
        sys.dont_write_bytecode = bytecode
    return tallies


def _warm_up(fuzzer: Fuzzer) -> None:
    """Import what commands import: caches that other packages write then are not the doing of an input."""
    for words in VALID:
        request([*words, "--dry-run"])
    with fuzzer._copy() as run:
        for words in (["evaluate", str(run), "--episodes", "1"], ["compare", str(run), "--out", str(run / "x")],
                      ["export", str(run), "--out", str(run / "x.pt")]):  # fmt: skip
            request(words)


def main() -> int:
    """Run it as a script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of fuzz.json and fuzz.md")
    parser.add_argument("--only", choices=SHARES, nargs="*", default=list(SHARES))
    arguments = parser.parse_args()
    whole = sum(SHARES[kind] for kind in arguments.only)
    counts = {kind: round(arguments.inputs * SHARES[kind] / whole) for kind in arguments.only}
    begin = time.monotonic()
    tallies = fuzz(counts, arguments.seed, lambda text: print(text, file=sys.stderr, flush=True))
    recorded = {
        "command": f"python benchmarks/fuzz.py --inputs {arguments.inputs} --seed {arguments.seed}",
        "machine": machine.describe(),
        "seconds": round(time.monotonic() - begin),
        "kinds": {kind: tally.to_json() for kind, tally in tallies.items()},
    }
    text = report(recorded)
    print(text)
    if set(arguments.only) == set(SHARES):
        (arguments.results / "fuzz.json").write_text(json.dumps(recorded, indent=1) + "\n")
        (arguments.results / "fuzz.md").write_text(text)
    return int(any(tally.wrong for tally in tallies.values()))


def report(recorded: dict[str, Any]) -> str:
    """Return the table."""
    what = {"flags": "command lines", "config": "config.json", "checkpoint": "files of a checkpoint"}
    rows = [
        f"| {what[kind]} | {t['inputs']:,} | {', '.join(f'{n:,} {code}' for code, n in t['exits'].items())} "
        f"| {t['slowest_seconds']} | {len(t['wrong'])} |"
        for kind, t in recorded["kinds"].items()
    ]
    return "\n".join([
        "# Mutated inputs", "",
        "Exit codes 0, 1 and 2 (`started`: accepted, stopped where a run would begin; `own`, `previous`: which "
        "checkpoint's weights were read). Wrong: a traceback, a hang, another exit code, a file touched "
        "outside the run directory, something unpickled, a process started, other weights than were saved (compared "
        "where a checkpoint was only read: `own`, `previous`).", "",
        "| mutated | inputs | answers | slowest, s | wrong |", "|---|---|---|---|---|", *rows, "",
        f"`{recorded['command']}`, {recorded['seconds']:,} s; {machine.sentence(recorded['machine'])}.", "",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
