"""Strategies of rock-paper-scissors as points of a triangle: paths round its centre, and what an opponent could win."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sfmarl.envs.matrix.payoffs import rock_paper_scissors
from sfmarl.evaluation.policy import build_actor
from sfmarl.league.solvers import nash_conv
from sfmarl.league.store import open_store
from sfmarl.models.acting_torch import TorchActing
from sfmarl.storage import checkpoint

PAYOFF = rock_paper_scissors().payoffs[0]
"""[3, 3] float64: win 1, draw 0, loss -1."""
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
"""[3, 2]: where rock, paper and scissors lie; the centre is the even strategy."""


class Snapshots(NamedTuple):
    """The pool of a run, oldest first."""

    env_steps: np.ndarray
    """[P] int64: when each was taken."""
    strategies: np.ndarray
    """[P, 3] float64: with what probability each plays rock, paper and scissors."""


def read_snapshots(run_dir: Path, player: str = "main") -> Snapshots:
    """Return the strategies of all entries of the pool, as the networks in RUN/snapshots have them."""
    saved = checkpoint.latest(run_dir)
    state, store = saved.read_policy(player), open_store(run_dir)
    acting = TorchActing(build_actor(state), state.spec, torch.device("cpu"), seed=0)
    steps, strategies = [], []
    for entry in saved.run_state["league"]["pool"]["entries"]:
        # a snapshot's own memory is read-only
        acting.load(store.get(entry["address"]).weights.copy())
        with torch.inference_mode():
            logits = acting.actor(torch.ones(1, 1, *state.spec.obs.shape))
        strategies.append(torch.softmax(logits.double(), dim=-1).flatten().numpy())
        steps.append(entry["meta"]["env_steps"])
    return Snapshots(np.array(steps, np.int64), np.array(strategies).reshape(-1, len(PAYOFF)))


def pool_averages(strategies: np.ndarray) -> np.ndarray:
    """Return what an opponent drawn evenly from the first 1, 2, ... P of `strategies` [P, 3] plays, [P, 3]."""
    return strategies.cumsum(axis=0) / np.arange(1, len(strategies) + 1)[:, None]


def distance(strategies: np.ndarray) -> np.ndarray:
    """Return how far `strategies` [..., 3] are from even: the largest difference of a probability from 1/3, [...]."""
    return np.abs(strategies - 1 / 3).max(axis=-1)


def turns(strategies: np.ndarray) -> float:
    """Return how often a path [P, 3] goes round the centre; positive from rock to paper to scissors.

    Each step is taken for the shorter way round: half a turn or more between two points cannot be told.
    """
    x, y = ((strategies - 1 / 3) @ CORNERS).T
    angle = np.unwrap(np.arctan2(y, x))
    return float((angle[-1] - angle[0]) / (2 * np.pi))


def nash_convs(strategies: np.ndarray) -> np.ndarray:
    """Return the NashConv of each of `strategies` [P, 3] against itself, [P]: 0 for the even one, 2 for a pure one."""
    return np.array([nash_conv(PAYOFF, strategy) for strategy in strategies])
