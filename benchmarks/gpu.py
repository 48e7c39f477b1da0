"""Everything about the GPU path in one command: is it right, and how fast is it.

    python benchmarks/gpu.py

First the checks of `gpu_checks.py`, then the pieces alone (`gpu_rates.py`), then asynchronous training: the native
spread with an MLP 64-64, plain and with a compiled step, mpe2's spread beside its environments alone, and pictures of
84x84x4 bytes in float32 and bfloat16. Takes about 8 minutes on 16 cores and one GPU; `--parts` and `--works` take it in
instalments. Prints tables and merges what it found into results/gpu.json. Exit code 1 when a check fails, 2 without a
CUDA device.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gpu_checks
import gpu_rates
import machine
import roofline
import throughput
import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config

HERE = Path(__file__).resolve().parent
PARTS = ("checks", "pieces", "trainings")
WINDOW_SECONDS = 5.0
COMPILING_SECONDS = 60.0
IMAGES = {"env": "benchmarks/images", "imports": (str(HERE / "image_env.py"),), "num_envs_per_worker": 16}
NATIVE = {"env": "native/simple_spread", "num_envs_per_worker": 512}
MPE2 = {"env": "mpe2.simple_spread_v3", "num_envs_per_worker": 64}


@dataclass(frozen=True)
class Work:
    """One training."""

    settings: dict[str, Any]
    """Of the run."""
    hp: dict[str, Any]
    """Hyperparameters that are not the protocol's (appo, one epoch, one minibatch)."""
    goal: str = ""
    """What it is to reach."""
    warm_up: float = throughput.WARM_UP_SECONDS
    """Seconds before the first window."""


WORKS = {
    "native spread": Work(NATIVE, {}, "4M agent-steps/s"),
    "native spread, compiled": Work(NATIVE, {"compile": True}, "4M agent-steps/s", COMPILING_SECONDS),
    "native spread, device weights": Work({**NATIVE, "device_weights": True}, {}),
    "mpe2 spread": Work(MPE2, {}, "90 % of env-only"),
    "pictures": Work(IMAGES, {}),
    "pictures, bfloat16": Work(IMAGES, {"precision": "bfloat16"}),
}


def main() -> int:
    """Check, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to do [all]")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS), help="which trainings [all]")
    parser.add_argument("--seconds", type=float, default=WINDOW_SECONDS, help="length of a window")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where gpu.json goes")
    args = parser.parse_args()
    device = torch.device(args.device)
    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no CUDA device: nothing to measure here.", file=sys.stderr)
        return 2

    command = " ".join(["python", "benchmarks/gpu.py", *sys.argv[1:]])
    about = machine.describe() | {"gpu": torch.cuda.get_device_name(device)}
    record = _begun(args.results, about)
    record["commands"].append(command)
    if "checks" in args.parts:
        record["checks"] = gpu_checks.run(device)
        _write(args.results, record)
    for measure in (gpu_rates.gathering, gpu_rates.acting, gpu_rates.learning) if "pieces" in args.parts else ():
        rates = measure(device)
        record["pieces"] |= rates
        print("\n".join(f"{name:60}{rate:>14,.1f}" for name, rate in rates.items()), flush=True)
        _write(args.results, record)
    for name in args.works if "trainings" in args.parts else ():
        record["trainings"][name] = measured = train(WORKS[name], args.device, args.seconds)
        print(f"{name:32}{measured['agent_steps_per_second']:>14,.0f} agent-steps/s  {WORKS[name].goal}", flush=True)
        if "env_only" in measured:
            print(f"{'':32}{measured['env_only']:>14,.0f} env-only: {measured['share_of_env_only']:.0%}", flush=True)
        _write(args.results, record)
    failed = [name for name, outcome in record["checks"].items() if outcome != "ok"]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def configure(work: Work, device: str) -> Config:
    """Return the settings of a training; two cores are left to the inference worker and the learner."""
    hp = get_algorithm("appo").hyperparameters()
    hp = replace(hp, **{"epochs": 1, "minibatches": 1, "target_kl": 0.0, **work.hp})
    return Config(
        **work.settings,
        algo="appo",
        hp=hp,
        device=device,
        env_steps=10**12,
        num_workers=max(2, len(os.sched_getaffinity(0)) - 2),
        eval_env_steps=0,
        final_eval_episodes=0,
        checkpoint_seconds=1e9,
        quiet=True,
    )


def train(work: Work, device: str, seconds: float) -> dict[str, Any]:
    """Return rates and the time breakdown of one training, and for mpe2 the environments' own rate beside it."""
    windows = throughput.train_windows(configure(work, device), seconds, work.warm_up)
    rates = [record["throughput/agent_steps_per_second"] for record in windows]
    found: dict[str, Any] = {
        "agent_steps_per_second": statistics.median(rates),
        "windows": rates,
        "samples_times_epochs_per_second": statistics.median(
            record["throughput/samples_times_epochs_per_second"] for record in windows
        ),
        "scalars": {
            name: statistics.mean(record[name] for record in windows)
            for name in windows[0]
            if name.startswith(("time/", "policy_lag/", "inference/", "system/", "learner/dropped"))
        },
    }
    if work.settings is MPE2:
        config = configure(work, "cpu")
        cores = len(os.sched_getaffinity(0))
        pieces = roofline.measure(config, throughput.batch_lanes(config), rounds=1, seconds=1.5)[0]
        found |= {"env_only": cores * pieces.env, "share_of_env_only": statistics.median(rates) / (cores * pieces.env)}
    return found


def _begun(results: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return the record of this machine and its programs so far, or an empty one."""
    path = results / "gpu.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    if record.get("machine") != about:
        return {"machine": about, "commands": [], "checks": {}, "pieces": {}, "trainings": {}}
    return record


def _write(results: Path, record: dict[str, Any]) -> None:
    """Write what is known so far: a run that is cut off leaves it behind."""
    results.mkdir(parents=True, exist_ok=True)
    (results / "gpu.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
