"""sfmarl beside the roofline, Sample Factory and RLlib: the same work on the same machine in one run.

    python benchmarks/compare_peers.py
    python benchmarks/compare_peers.py --works B --only sfmarl sf-batched --seconds 5

Work A is mpe2 simple_spread (3 agents), B a trivial 8-agent dict environment that costs next to nothing. Everybody
trains an actor and a critic of 64-64 tanh on them, rollout 32, 6144 (A) or 8192 (B) agent-steps per update, one epoch,
one minibatch, on the CPU, a process per core that steps environments. After the first update and a warm-up: three
windows, medians. Agent-steps are actions of live agents, counted where environments are stepped. sfmarl is measured
first and again last, the roofline before and after.

Peers live in virtual environments of their own, which the script makes (`--venvs`); one that cannot be installed or
fails is a row with its error. A run ends everything it started, also after Ctrl-C. Results go to
results/peers.{json,md,png} when it is over; peers.partial.json has what was measured so far.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
import peers_report
import psutil
import roofline
from peers.measuring import PeerFailed
from peers.systems import SYSTEMS, run
from peers.venvs import ensure, versions
from peers.works import WORKS
from roofline import Pieces
from works import batch_lanes, configure

HERE = Path(__file__).resolve().parent
LETTERS = {"A": "spread", "B": "dict"}
"""Name on the command line -> work."""
ROUNDS = 3
"""Measurements of each roofline piece, before everything and again after it."""
PIECE_SECONDS = 1.5


def main() -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=LETTERS, default=list(LETTERS))
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="SYSTEM",
                        help=f"of {', '.join(SYSTEMS)}")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=10.0, help="least length of a window")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds after the first update")
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="where peers are installed")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON, table and figure go")
    args = parser.parse_args()
    args.venvs = args.venvs.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave through the same door as after Ctrl-C
    try:
        compare(args)
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"compare_peers: {error}", file=sys.stderr)
        return 1
    return 0


def compare(args: argparse.Namespace) -> None:
    """Measure every system on every work, one at a time."""
    args.results.mkdir(parents=True, exist_ok=True)
    order = [name for name in SYSTEMS if name in args.only]
    record: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/compare_peers.py", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": installed(order, args.venvs),
        "seconds": args.seconds,
        "warm_up": args.warm_up,
        "works": [],
    }
    for letter in dict.fromkeys(args.works):
        record["works"].append(measure_work(letter, order, args, record))
        print(peers_report.table(record["works"][-1]), flush=True)
    partial = save_partial(record, args.results)
    partial.replace(args.results / "peers.json")
    (args.results / "peers.md").write_text(peers_report.page(record))
    peers_report.figure(record, args.results / "peers.png")


def installed(order: list[str], venvs: Path) -> dict[str, Any]:
    """Install the peers that are missing; return versions, or an error, for each."""
    found: dict[str, Any] = {}
    for peer in dict.fromkeys(SYSTEMS[name].peer for name in order):
        if peer is not None:
            try:
                found[peer] = versions(peer, ensure(peer, venvs))
            except PeerFailed as error:
                found[peer] = {"error": str(error)}
    return found


def measure_work(letter: str, order: list[str], args: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    """Return one work's rows, saving `record` after each."""
    work, config = WORKS[LETTERS[letter]], configure(LETTERS[letter], "appo", 0, 64)
    cores, lanes = len(os.sched_getaffinity(0)), batch_lanes(config)
    busy = psutil.cpu_percent(interval=1.0)
    if busy > 10:
        print(f"warning: other programs take {busy:.0f} % of this machine; ratios will suffer", file=sys.stderr)
    tell(f"{letter}: roofline")
    rounds = roofline.measure(config, lanes, ROUNDS, PIECE_SECONDS)
    about: dict[str, Any] = {"letter": letter, "env": config.env, "busy_before": busy, "rows": []}
    add_roofline(about, rounds, cores)
    again = ["sfmarl"] if "sfmarl" in order and len(order) > 1 else []
    for name in order + again:
        title = SYSTEMS[name].title + (", again" if name == "sfmarl" and about["rows"] else "")
        tell(f"{letter}: {title}")
        row: dict[str, Any] = {"system": name, "title": title, "settings": SYSTEMS[name].arguments(work, cores)}
        try:
            if error := record["versions"].get(SYSTEMS[name].peer, {}).get("error"):
                raise PeerFailed(error)
            row |= run(name, work, cores, args.venvs, args.warm_up, args.seconds)
        except PeerFailed as error:
            row["error"] = str(error)
        about["rows"].append(row)
        save_partial(record | {"works": [*record["works"], about]}, args.results)
    tell(f"{letter}: roofline, again")
    add_roofline(about, rounds + roofline.measure(config, lanes, ROUNDS, PIECE_SECONDS), cores)
    return about


def add_roofline(about: dict[str, Any], rounds: list[Pieces], cores: int) -> None:
    """Put the medians of the bare work into a work's record."""
    pieces = roofline.median(rounds)
    about["pieces"] = asdict(pieces)
    about["roofline"] = pieces.roofline(pieces.forward_torch, cores)
    about["roofline_own_forward"] = pieces.roofline(pieces.forward_product, cores)
    half = len(rounds) // 2
    about["roofline_drift"] = (
        statistics.median(p.roofline(p.forward_torch, cores) for p in rounds[half:])
        / statistics.median(p.roofline(p.forward_torch, cores) for p in rounds[:half])
        - 1
    )


def save_partial(record: dict[str, Any], results: Path) -> Path:
    """Write what there is so far and return where."""
    path = results / "peers.partial.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def tell(text: str) -> None:
    """Say what happens now."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
