"""Leagues learn: rock-paper-scissors, whose only unbeatable strategy is known, by serial runs of some seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config, LeagueConfig
from sfmarl.evaluation.policy import build_actor
from sfmarl.league.store import open_store
from sfmarl.models.acting import make_acting
from sfmarl.run.runner import train
from sfmarl.storage import checkpoint

DRAWS = 4000
"""Actions drawn from each snapshot: a standard error of .008."""


def played(run_dir: Path, matchmaker: str, entropy_coef: float) -> np.ndarray:
    """Train and return how often each snapshot of the pool plays rock, paper and scissors, [P, 3]."""
    hp = {"hidden": (32,), "lr": 4e-3, "gamma": 0.0, "trace_lambda": 0.0, "entropy_coef": entropy_coef}
    config = Config(
        env="native/rock_paper_scissors",
        env_kwargs={"length": 5},
        algo="appo",
        hp=replace(get_algorithm("appo").hyperparameters(), normalise_advantages=False, normalise_obs=False, **hp),
        league=LeagueConfig(
            matchmaker=matchmaker,
            self_play=0.0,
            snapshot_env_steps=2_400,
            snapshot_win_rate=1.0,
            live_snapshots=25,
            evaluation_share=0.0,
        ),
        mode="serial",
        env_steps=60_000,
        num_workers=1,
        num_envs_per_worker=96,
        num_splits=1,
        rollout=5,
        eval_env_steps=0,
        final_eval_episodes=0,
        quiet=True,
        run_dir=run_dir,
    )
    saved = checkpoint.latest(train(config).run_dir)
    state, store = saved.read_policy("main"), open_store(run_dir)
    acting = make_acting(build_actor(state), state.spec, "cpu", seed=1)
    shares = []
    for entry in saved.run_state["league"]["pool"]["entries"]:
        acting.load(store.get(entry["address"]).weights)
        action, _ = acting.act(np.ones((DRAWS, 1, 1), np.float32))
        shares.append(np.bincount(action.ravel(), minlength=3) / DRAWS)
    return np.array(shares)


def from_even(strategies: np.ndarray) -> np.ndarray:
    """Return the largest difference of a probability [..., 3] from 1/3."""
    return np.abs(strategies - 1 / 3).max(axis=-1)


@pytest.mark.slow
def test_the_pool_becomes_even_and_who_meets_only_itself_does_not(tmp_path):
    """With seeds 11 to 18: average .03 to .08 from even, members .15 to .29; alone .50 to .59."""
    pool = played(tmp_path / "pool", "uniform", entropy_coef=0.2)
    assert len(pool) == 25
    average = from_even(pool.mean(axis=0))
    assert average < 0.1
    assert average < from_even(pool).mean() / 2, "the average is even, not each of them"
    alone = played(tmp_path / "alone", "latest", entropy_coef=0.05)
    late = from_even(alone[len(alone) // 2 :])
    assert late.mean() > 0.3
    assert set(alone[len(alone) // 2 :].argmax(axis=1)) == {0, 1, 2}, "it goes round"
