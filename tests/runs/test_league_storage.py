"""What a league leaves on disk: every result, and the snapshots that a checkpoint needs; and what it begins with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.errors import UsageError
from sfmarl.league.store import open_store
from sfmarl.run.callbacks import Callback
from sfmarl.run.runner import resume, train
from sfmarl.storage import checkpoint
from tests.runs.test_league_runs import config, league_of

SERIAL = {"mode": "serial", "num_workers": 1}


def plain_run(run_dir: Path, **settings) -> Path:
    """Train one policy against itself without a league; return its run directory."""
    seats = {"player_1": "ours", "player_2": "ours"}
    return train(replace(config(run_dir, **SERIAL, **settings), league=None, policies=seats)).run_dir


def named(run_dir: Path) -> set[str]:
    """Return the addresses that any kept checkpoint names."""
    states = [checkpoint.open_checkpoint(path).run_state for path in checkpoint.checkpoint_paths(run_dir)]
    return {entry["address"] for state in states if "league" in state for entry in state["league"]["pool"]["entries"]}


def on_disk(run_dir: Path) -> set[str]:
    return set(open_store(run_dir).addresses())


@pytest.mark.parametrize("keep", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_files_of_evicted_snapshots_go_once_no_checkpoint_names_them(keep, tmp_path):
    settings = {**SERIAL, "env_steps": 10_000, "checkpoint_seconds": 0.3, "keep_checkpoints": keep}
    run_dir = train(config(tmp_path / "run", **settings, league={"snapshot_env_steps": 500})).run_dir
    taken, needed, there = league_of(run_dir)["pool"]["next"], named(run_dir), on_disk(run_dir)
    assert len(checkpoint.checkpoint_paths(run_dir)) == keep
    assert needed <= there, "whatever a checkpoint names can be resumed"
    # how many are gone depends on when checkpoints were written: each kept one names a pool of its own
    assert len(there) < taken
    # live ones are pinned beyond their eviction
    assert len(there - needed) <= 2
    for newest in checkpoint.checkpoint_paths(run_dir)[: keep - 1]:
        shutil.rmtree(newest)
    resume(run_dir, env_steps=12_000)
    assert named(run_dir) <= on_disk(run_dir)


def test_nothing_is_swept_while_a_checkpoint_cannot_be_read(tmp_path):
    settings = {**SERIAL, "env_steps": 4000, "league": {"snapshot_env_steps": 400}}
    run_dir = train(config(tmp_path / "run", **settings)).run_dir
    (checkpoint.checkpoint_paths(run_dir)[-1] / "run.json").write_text("{")
    before = on_disk(run_dir)
    resume(run_dir, env_steps=7000)
    assert before <= on_disk(run_dir)


def test_snapshots_behind_a_link_are_left_alone(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "run").mkdir()
    settings = {**SERIAL, "env_steps": 4000, "league": {"snapshot_env_steps": 400}}
    run_dir = train(config(tmp_path / "first", **settings)).run_dir
    shutil.move(run_dir / "snapshots", tmp_path / "all" / "snapshots")
    (run_dir / "snapshots").symlink_to(tmp_path / "all" / "snapshots")
    before = on_disk(run_dir)
    resume(run_dir, env_steps=7000)
    assert before < on_disk(run_dir)


class Counts(Callback):
    """Counts every match that a run hears of, until it is over."""

    def on_start(self, run):
        """Begin at nothing."""
        self.matches = 0

    def on_episodes(self, episodes):
        """Add them."""
        self.matches += len(episodes.lengths)

    def on_end(self, summary):
        """Leave the number behind."""
        (self.run.run_dir / "matches.json").write_text(json.dumps(self.matches))


@pytest.mark.parametrize("mode", [pytest.param("async", marks=pytest.mark.slow), "serial"])
def test_the_last_checkpoint_holds_every_match_that_was_told_of(mode, tmp_path):
    settings = {"mode": mode, "num_workers": 2 if mode == "async" else 1, "env_steps": 12_000}
    settings["callbacks"] = ("tests.runs.test_league_storage:Counts",)
    result = train(config(tmp_path / "run", **settings))
    run_dir, before = result.run_dir, league_of(result.run_dir)
    assert sum(before["matches"].values()) == json.loads((run_dir / "matches.json").read_text()) > 1000
    resume(run_dir, env_steps=result.summary["env_steps"] + 6_000)
    after = league_of(run_dir)
    heard = json.loads((run_dir / "matches.json").read_text())
    assert sum(after["matches"].values()) == sum(before["matches"].values()) + heard


@pytest.mark.slow
def test_the_policy_of_a_plain_run_seeds_the_pool(tmp_path):
    plain = plain_run(tmp_path / "plain", env_steps=4000)
    once = {**SERIAL, "env_steps": 3000}
    for number, source in enumerate((str(plain), f"{plain}:ours", str(checkpoint.latest(plain).path))):
        settings = {"seed_pool": (source,), "snapshot_env_steps": 10**6}
        run_dir = train(config(tmp_path / f"league{number}", **once, league=settings)).run_dir
        (entry,) = league_of(run_dir)["pool"]["entries"]
        assert entry["meta"]["player"] == "ours" and entry["meta"]["env_steps"] >= 4000
        games = [cell for cell in league_of(run_dir)["payoff"]["cells"] if 0 in cell[:2]]
        assert games, "it is met"
    frozen = open_store(run_dir).get(entry["address"]).weights
    weight = checkpoint.latest(plain).read_policy("ours").actor_tensors
    assert sum(tensor.numel() for tensor in weight.values()) == len(frozen)
    assert np.isin(next(iter(weight.values())).numpy().ravel(), frozen).all()


def test_a_policy_that_is_built_otherwise_is_refused_with_what_differs(tmp_path):
    other = Hyperparameters(critic="own", hidden=(8,), epochs=1, returns="vtrace")
    plain = plain_run(tmp_path / "plain", env_steps=1000, hp=other)
    for source, why in ((str(plain), r"'ours': actor\.hidden: \[16\] here, \[8\] there"), (f"{plain}:our", "'ours'")):
        with pytest.raises(UsageError, match=why):
            train(config(tmp_path / f"{source[-3:]}", **SERIAL, league={"seed_pool": (source,)}))
