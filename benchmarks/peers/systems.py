"""What is compared: each system's driver and its settings."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from works import arrangement

from peers.measuring import measure
from peers.venvs import ensure
from peers.works import Work

BENCHMARKS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class System:
    """One system in one setting."""

    title: str
    """Name in tables."""
    driver: str
    """Module beside this one that trains until it is stopped."""
    peer: str | None
    """Virtual environment it runs in; None: this one."""
    arguments: Callable[[Work, int], dict[str, Any]]
    """(work, cores) -> the driver's arguments after work and temporary folder, by what they mean."""


def workers(cores: int) -> int:
    """Return the processes of a peer that step environments."""
    return max(2, cores)


def _ppo(work: Work, cores: int) -> dict[str, Any]:
    # synchronous: an update's rollouts are all there is to sample, so the batch decides how many environments step
    envs = work.batch_env_steps // (work.rollout * workers(cores))
    return {"algorithm": "PPO", "env runners": workers(cores), "envs per runner": max(1, envs)}


def _rllib(algorithm: str) -> Callable[[Work, int], dict[str, Any]]:
    return lambda work, cores: {"algorithm": algorithm, "env runners": workers(cores), "envs per runner": 32}


def _sample_factory(batched: bool, arrays: bool = False) -> Callable[[Work, int], dict[str, Any]]:
    return lambda work, cores: {
        "workers": workers(cores),
        "envs per worker": 64,
        "splits": 2,
        "batched sampling": batched,
        "array adapter": arrays,
    }


SYSTEMS = {
    "sfmarl": System(
        "sfmarl appo",
        "drive_sfmarl",
        None,
        lambda work, cores: dict(zip(("workers", "envs per worker"), arrangement(work.name, cores), strict=True)),
    ),
    "sf-arrays": System(
        "Sample Factory APPO, batched, array adapter",
        "drive_sample_factory",
        "sample-factory",
        _sample_factory(True, arrays=True),
    ),
    "sf-batched": System(
        "Sample Factory APPO, batched", "drive_sample_factory", "sample-factory", _sample_factory(True)
    ),
    "sf": System("Sample Factory APPO", "drive_sample_factory", "sample-factory", _sample_factory(False)),
    "rllib-ppo": System("RLlib PPO", "drive_rllib", "rllib", _ppo),
    "rllib-impala": System("RLlib IMPALA", "drive_rllib", "rllib", _rllib("IMPALA")),
    "rllib-appo": System("RLlib APPO", "drive_rllib", "rllib", _rllib("APPO")),
}


def run(name: str, work: Work, cores: int, venvs: Path, warm_up: float, seconds: float) -> dict[str, Any]:
    """Measure one system on one work and return its figures. Raises PeerFailed."""
    with command(name, work, cores, venvs) as about:
        return measure(*about, warm_up, seconds)


@contextmanager
def command(name: str, work: Work, cores: int, venvs: Path) -> Iterator[tuple[list[str], dict[str, str], Path]]:
    """Yield the command that trains with a system, its environment variables, and where its output goes.

    What the system writes lies in a folder that is removed after the `with` block. Raises PeerFailed when the system
    cannot be installed.
    """
    system = SYSTEMS[name]
    python = Path(sys.executable) if system.peer is None else ensure(system.peer, venvs)
    # a peer's environment knows this folder, not the package
    path = [BENCHMARKS] if system.peer else [BENCHMARKS, BENCHMARKS.parent]
    environment = {"PYTHONPATH": ":".join(map(str, path))}
    with tempfile.TemporaryDirectory(prefix="sfmarl-peer-", ignore_cleanup_errors=True) as folder:
        arguments = [work.name, f"{folder}/run", *system.arguments(work, cores).values()]
        words = [str(python), "-m", f"peers.{system.driver}", *map(str, arguments)]
        yield words, environment, venvs / "logs" / f"{work.name}-{name}.log"
