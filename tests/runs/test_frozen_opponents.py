"""Through a whole run, who sits opposite in a match acts with the weights of one snapshot: its address names them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.config import Config, LeagueConfig
from sfmarl.errors import RunError
from sfmarl.memory.weights import WeightStore
from sfmarl.run import league
from sfmarl.run.runner import check_run, train
from sfmarl.workers.match_seating import MatchSeating
from sfmarl.workers.policy_slots import BankSlot

MEMORY = {"actor_rnn": "gru"}


def config(run_dir: Path, env: str, hp: dict | None = None) -> Config:
    """Return a serial league with more snapshots than there is room for, so that the live ones change all the time."""
    hp = {"critic": "own", "hidden": (16,), "epochs": 1, "returns": "vtrace", **(hp or {})}
    return Config(
        env=env,
        algo="ippo",
        hp=Hyperparameters(**hp),
        mode="serial",
        league=LeagueConfig(snapshot_env_steps=200, live_snapshots=3, pool_size=8, matchmaker="uniform", self_play=0.1),
        env_steps=10_000,
        num_workers=1,
        num_envs_per_worker=16,
        num_splits=2,
        rollout=8,
        eval_env_steps=0,
        final_eval_episodes=0,
        quiet=True,
        run_dir=run_dir,
    )


def content(bank, slot: int) -> str:
    """Return the hash of what a bank slot acts with, wherever that lies."""
    slots = bank._slots
    arrays = [slots.flat[slot].numpy()] if hasattr(slots, "flat") else list(_arrays(vars(slots.weights[slot])))
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _arrays(value):
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _arrays(inner)
    elif hasattr(value, "__dict__"):
        yield from _arrays(vars(value))


@pytest.mark.parametrize(
    ("env", "hp"),
    [
        pytest.param("native/tic_tac_toe", {}, marks=pytest.mark.slow),
        ("native/rock_paper_scissors", {}),
        pytest.param("native/tic_tac_toe", MEMORY, marks=pytest.mark.slow, id="memory"),
    ],
)
def test_an_opponent_is_the_snapshot_it_was_drawn_as_until_the_match_ends(env, hp, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    plan, _ = check_run(config(tmp_path / "plan", env, hp=hp))
    addresses: dict[int, str] = {}  # number of an entry -> address
    drawn: dict[tuple[int, int], tuple[str, ...]] = {}  # (split, env) -> contents by seat of the running match
    seatings: list[MatchSeating] = []
    contents: dict[str, set[str]] = {}  # address -> what was ever seen to act for it
    acted = changes = 0
    enter, draw, act = league.League._enter, MatchSeating.draw, BankSlot.act

    def note_entry(self, entry):
        addresses[entry.number] = entry.address
        enter(self, entry)

    def note_match(self, env):
        if self not in seatings:
            seatings.append(self)
        players = draw(self, env)
        drawn[seatings.index(self), env] = tuple(addresses.get(number, "") for number in self.identity[env].tolist())
        return players

    def check_rows(self, wheres, *inputs):
        nonlocal acted
        lying = {slot: content(self.bank, slot) for slot in np.unique(np.concatenate([w.player for w in wheres]))}
        for where in wheres:
            at, agents = where._scratch.spec, where._scratch.active.shape[1]
            for row, player in zip(where.rows.tolist(), where.player.tolist(), strict=True):
                address = drawn[at.split, row // agents if plan.env.turn_based else row][at.seat]
                assert address, "a frozen player sits where a snapshot was drawn"
                contents.setdefault(address, set()).add(lying[player])
                acted += 1
        return act(self, wheres, *inputs)

    monkeypatch.setattr(league.League, "_enter", note_entry)
    monkeypatch.setattr(MatchSeating, "draw", note_match)
    monkeypatch.setattr(BankSlot, "act", check_rows)
    result = train(config(run_dir, env, hp=hp))
    changes = result.metrics()[-1]["league/cache_misses"]
    assert acted > 3000 and changes > 12 and len(contents) > 6, "snapshots came, went and came again"
    assert all(len(seen) == 1 for seen in contents.values()), "a snapshot always has the same weights"
    assert len({next(iter(seen)) for seen in contents.values()}) == len(contents), "and no other has them"


def test_a_snapshot_that_is_damaged_on_its_way_ends_the_run_by_name(tmp_path, monkeypatch):
    published: list[str] = []
    publish = WeightStore.publish

    def damage(self, flat, version, address=""):
        publish(self, flat, version, address)
        if address:
            published.append(address)
            self.buffer.view(np.uint32)[version % 2, -1] ^= 1

    monkeypatch.setattr(WeightStore, "publish", damage)
    with pytest.raises(RunError) as error:
        train(config(tmp_path / "run", "native/tic_tac_toe"))
    assert f"Snapshot {published[0][:12]} was damaged in shared memory" in str(error.value)
