"""`--dry-run`: what would run is told, with every byte of shared memory, and nothing is started or written."""

from __future__ import annotations

import os
from types import SimpleNamespace

import psutil
import pytest
import torch
from small import children, config

from sfmarl.command.cli import main
from sfmarl.config import LeagueConfig
from sfmarl.errors import RunError, UsageError
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import QUEUE_BYTES
from sfmarl.run import runner
from sfmarl.run.children import Children
from sfmarl.run.dry_run import dry_run
from sfmarl.run.memory_plan import in_units, private_estimates, shared_allocations, shared_bytes
from sfmarl.run.runner import check_run, train
from sfmarl.storage.checkpoint import latest
from sfmarl.workers.gather import Staging

RUNS = {
    "plain": {},
    "central critic, memory": {"algo": "mappo", "hp": None, "env": "mpe2.simple_spread_v3"},
    "turns": {"env": "native/connect_four", "policies": {"player_0": "main", "player_1": "main"}},
    "two policies": {"env": "native/connect_four"},
    "a script": {"env": "mpe2.simple_tag_v3", "players": {"agent": {"script": "random"}}},
    "league": {"env": "native/tic_tac_toe", "league": LeagueConfig(live_snapshots=3)},
}


@pytest.mark.parametrize("name", RUNS)
def test_groups_add_up_to_the_segment_and_the_queues(tmp_path, name):
    plan, _ = check_run(config(tmp_path / "run", **RUNS[name]), starts=False)
    shared = shared_allocations(plan)
    queues = sum(allocation.size for allocation in shared if allocation.what == "queues")
    assert shared_bytes(plan) - queues == plan.plane.layout().size
    slots = [allocation for allocation in shared if allocation.what.startswith("slots")]
    assert [a.what for a in slots] == [f"slots of {policy.name!r}" for policy in plan.policies]
    whats = {allocation.what for allocation in shared}
    assert ("match table" in whats) == (name == "league")
    assert ("scratch rows" in whats) == (name in ("a script", "league"))


@pytest.mark.parametrize("name", ["plain", "central critic, memory", "two policies"])
def test_a_batch_is_as_large_as_the_learners_own(tmp_path, name):
    plan, _ = check_run(config(tmp_path / "run", **RUNS[name]), starts=False)
    plane = DataPlane.create(plan.plane)
    told = [allocation for allocation in private_estimates(plan) if allocation.what.startswith("batch")]
    for policy, allocation in enumerate(told):
        staging = Staging(plane.blocks(policy=policy), plan.batch_lanes[policy], torch.device("cpu"))
        held = sum(staging._device[name].nbytes for name in Staging.FIELDS if name in staging._device)
        widened = staging._device["action"].nbytes // 2  # int32 in a slot, int64 in a batch
        assert held - widened <= allocation.size <= held


@pytest.mark.parametrize(("settings", "count"), [({}, 3), ({"inference": "local"}, 2), ({"mode": "serial"}, 0)])
def test_queues_are_told(tmp_path, settings, count):
    plan, _ = check_run(config(tmp_path / "run", num_inference_workers=1, **settings), starts=False)
    told = [allocation for allocation in shared_allocations(plan) if allocation.what == "queues"]
    assert sum(allocation.size for allocation in told) == count * QUEUE_BYTES
    if count:
        assert len(Children(plan, DataPlane.create(plan.plane), tmp_path).queues) == count


def test_networks_are_as_large_as_what_a_checkpoint_holds(tmp_path):
    settings = config(tmp_path / "run", mode="serial", env_steps=200)
    plan, _ = check_run(settings, starts=False)
    told = next(a.size for a in private_estimates(plan) if a.what.startswith("networks"))
    train(settings)
    saved = latest(tmp_path / "run").read_policy("agent").algorithm_state["tensors"]
    assert told == sum(tensor.nbytes for tensor in saved.values())


@pytest.mark.parametrize("command", [["train", "games/climbing"], ["league", "native/tic_tac_toe"]])
def test_nothing_is_started_or_written(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "fork_server", lambda: pytest.fail("a process was started"))
    monkeypatch.setattr(os, "memfd_create", lambda *args: pytest.fail("memory was reserved"))
    assert main([*command, "--dry-run", "--num-workers", "3", "--seeds", "1", "2"]) == 0
    told = capsys.readouterr().out
    assert "3 rollout" in told and "shared memory: " in told and "each of 2 seeds" in told
    assert "Nothing was started, nothing was written." in told
    assert not list(tmp_path.iterdir()) and not children("")


def test_a_machine_that_is_too_small_is_told_as_by_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(RunError) as refused:
        train(config(tmp_path / "run", mode="serial"))
    with pytest.raises(RunError) as foreseen:
        dry_run(config(tmp_path / "other", mode="serial")).require_memory()
    assert str(foreseen.value) == str(refused.value)
    assert main(["train", "games/climbing", "--dry-run"]) == 1
    out, err = capsys.readouterr()
    assert "1000 bytes available" in out and "slots of 'agent'" in out
    assert "cannot reserve" in err and "Nothing was" not in out


def test_the_sizes_are_told_before_they_are_reserved(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(DataPlane, "create", lambda spec: (_ for _ in ()).throw(RunError("no memory")))
    with pytest.raises(RunError, match="no memory"):
        train(config(tmp_path / "run", mode="serial", quiet=False))
    assert "of shared memory: slots of 'agent' " in capsys.readouterr().out


def test_what_train_refuses_is_refused(tmp_path):
    for settings in ({"env": "no.such_env"}, {"callbacks": ("nobody",)}, {"batch_size": 10**9}):
        with pytest.raises(UsageError):
            dry_run(config(tmp_path / "run", **settings))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        dry_run(config(tmp_path / "run"))


def test_auto_would_start_processes(capsys):
    assert main(["train", "games/climbing", "--dry-run", "--auto"]) == 2
    assert "--auto" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (3 << 20, "3.0 MiB"), (5 << 29, "2.5 GiB")],
)
def test_units(size, words):
    assert in_units(size) == words
