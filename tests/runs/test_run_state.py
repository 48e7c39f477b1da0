"""What a checkpoint says of its run is checked, even when its hashes agree."""

from __future__ import annotations

import shutil

import pytest
import torch
from small import config

from sfmarl.errors import RunError
from sfmarl.run.run_state import read_run_state
from sfmarl.run.runner import resume, train
from sfmarl.storage.checkpoint import Checkpoint, checkpoint_paths, latest
from sfmarl.storage.checkpoint_reader import manifest_digest
from sfmarl.storage.durable import dump_json, hash_file, parse_json
from sfmarl.storage.tensors import dump_tensors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    train(config(run_dir, mode="serial", num_workers=1, env_steps=200))
    return run_dir


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def vouch(newest, path) -> None:
    """Have the manifest of a checkpoint say that `path` is as it should be."""
    manifest = parse_json((newest / "manifest.json").read_bytes(), newest)
    del manifest["sha256"]
    sha256, size = hash_file(path)
    manifest["files"][path.relative_to(newest).as_posix()] = {"sha256": sha256, "bytes": size}
    manifest["sha256"] = manifest_digest(manifest)
    (newest / "manifest.json").write_bytes(dump_json(manifest))


def rewrite(run_dir, name, change) -> Checkpoint:
    """Change a JSON file of the newest checkpoint and have its manifest agree."""
    newest = checkpoint_paths(run_dir)[0]
    path = next(newest.rglob(name))
    value = parse_json(path.read_bytes(), path)
    path.write_bytes(dump_json(change(value)))
    vouch(newest, path)
    return Checkpoint(newest)


def test_what_a_run_has_written_is_right(run_dir):
    assert read_run_state(latest(run_dir))["env_steps"] >= 200


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("env_steps", None), ("env_steps", -1), ("env_steps", "200"), ("env_steps", True), ("env_steps", 1 << 63),
        ("agent_steps", 1.5), ("wall_seconds", "1"), ("wall_seconds", float("nan")), ("wall_seconds", -1.0),
        ("next_evaluation", []), ("counts", []), ("counts", {"rollout": [1, 2]}),
        ("counts", {"rollout": [[1], 2, 3, 4]}), ("counts", {"pilot": [1]}),
    ],
)  # fmt: skip
def test_what_no_run_has_written_is_named(run_dir, entry, value):
    saved = rewrite(run_dir, "run.json", lambda state: state | {entry: value})
    with pytest.raises(RunError, match=f"{saved.path}.*run.json"):
        resume(run_dir, env_steps=400)


def test_a_missing_entry_and_another_kind_of_state_are_named(run_dir):
    saved = rewrite(run_dir, "run.json", lambda state: {k: v for k, v in state.items() if k != "agent_steps"})
    with pytest.raises(RunError, match="'agent_steps' is missing"):
        read_run_state(saved)
    with pytest.raises(RunError, match="no object"):
        read_run_state(rewrite(run_dir, "run.json", lambda state: [state]))


def test_streams_that_are_none_are_named(run_dir):
    def other(state):
        state["generators"]["inference"][0][0]["state"] = "x"
        return state

    rewrite(run_dir, "run.json", other)
    with pytest.raises(RunError, match=r"generators in run\.json"):
        resume(run_dir, env_steps=400)


def test_a_state_of_another_algorithm_is_named(run_dir):
    newest = checkpoint_paths(run_dir)[0]
    learner = next(newest.rglob("learner.safetensors"))
    learner.write_bytes(dump_tensors({"weights": torch.zeros(3)}))
    vouch(newest, learner)
    with pytest.raises(RunError, match="holds no state of ippo"):
        resume(run_dir, env_steps=400)


@pytest.mark.parametrize(
    "seat",
    [{"policy": "other", "agents": []}, {"policy": {}, "agents": []}, {"policy": "agent", "agents": [["a"]]},
     {"policy": "agent", "agents": "agent_0"}, {"policy": "agent", "agents": [True]}],
)  # fmt: skip
def test_teams_of_no_run_are_named(run_dir, seat):
    with pytest.raises(RunError, match="cannot be used"):
        rewrite(run_dir, "teams.json", lambda teams: [["agent", seat]])
