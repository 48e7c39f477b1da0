"""Exported actors: the same actions as the policy itself, whatever it observes and however it acts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from odd_spaces import OddSpaces
from saved_runs import SPREAD, save_run

import sfmarl
from sfmarl.algorithms import get_algorithm
from sfmarl.command.cli import main
from sfmarl.config import Config
from sfmarl.errors import RunError, UsageError
from sfmarl.results import exported_actor
from sfmarl.results.export import METADATA, ROWS, TOLERANCE, export_run
from sfmarl.storage.checkpoint import latest

ODD = Config(env="odd_spaces:OddSpaces", algo="ippo")
FORMATS = ["torchscript", pytest.param("onnx", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=["full", "none"])
def odd_run(request, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("odd") / request.param
    # little noise: sums of pixels times large weights are rounded too coarsely to be compared
    save_run(run_dir, ODD, request.param, noise=0.05)
    return run_dir


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A real run, whose normaliser has seen something."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    config = Config(env="mpe2.simple_spread_v3", env_kwargs={"N": 2, "max_cycles": 10}, algo="mappo", mode="serial",
                    num_workers=1, num_envs_per_worker=4, rollout=8, env_steps=300, eval_env_steps=0,
                    final_eval_episodes=0, quiet=True, run_dir=run_dir)  # fmt: skip
    return sfmarl.train(config).run_dir


def call(path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    if path.suffix == ".onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
        assert [i.name for i in session.get_inputs()] == list(inputs)
        return session.run(None, inputs)
    return [x.numpy() for x in torch.jit.load(str(path))(**{k: torch.from_numpy(v) for k, v in inputs.items()})]


@pytest.mark.parametrize("format", FORMATS)
def test_every_kind_of_space_agrees_with_load_policy(odd_run, tmp_path, format):
    if format == "onnx":
        pytest.importorskip("onnxscript")
    exported = export_run(odd_run, format, tmp_path / f"actor{'.onnx' if format == 'onnx' else '.pt'}")
    assert [e.policy for e in exported] == sorted(OddSpaces.SPACES)
    assert all(e.difference <= TOLERANCE and e.equal_actions >= ROWS - 1 for e in exported)
    policy, env = sfmarl.load_policy(odd_run), OddSpaces()
    files = {e.policy: e.path for e in exported}
    for seed in range(5):
        seen, _ = env.reset(seed=seed)
        expected = policy.act({agent: seen[agent] for agent in seen if not agent.startswith("binary")})
        for agent, action in expected.items():
            kind, _, number = agent.rpartition("_")
            raw, extra = seen[agent], {}
            if kind == "masked":
                raw, extra = seen[agent]["observation"], {"action_mask": seen[agent]["action_mask"][None].astype(bool)}
            obs = np.asarray(raw, policy.specs[kind].obs.dtype)[None]
            taken, _ = call(files[kind], obs=obs, agent_index=np.array([int(number)]), **extra)
            np.testing.assert_allclose(taken[0], action, atol=TOLERANCE)
            assert env.action_space(agent).contains(taken[0]) or taken.dtype != env.action_space(agent).dtype


def test_the_normaliser_is_inside(trained, tmp_path):
    state = latest(trained).read_policy("agent")
    assert (state.actor_tensors["normaliser.mean"] != 0).any()
    (exported,) = export_run(trained, "torchscript", tmp_path / "a.pt")
    obs = np.random.default_rng(0).normal(size=(5, *state.spec.obs.shape)).astype(np.float32)
    index = np.array([0, 1, 0, 1, 1])
    action, logits = call(exported.path, obs=obs, agent_index=index)
    assert action.tolist() == logits.argmax(-1).tolist()
    policy = sfmarl.load_policy(trained)
    assert action.tolist() == [policy.act(o, f"agent_{i}") for o, i in zip(obs, index, strict=True)]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("rnn", "sharing"), [("gru", "full"), ("lstm", "none")])
def test_a_recurrent_actor_remembers_as_load_policy_does(tmp_path, rnn, sharing, format):
    if format == "onnx":
        pytest.importorskip("onnxscript")
    hp = replace(get_algorithm("ippo").hyperparameters(), actor_rnn=rnn, rnn_size=6, hidden=(8,))
    save_run(tmp_path / "run", replace(SPREAD, hp=hp), sharing)
    (exported,) = export_run(tmp_path / "run", format)
    assert exported.about["inputs"]["is_first"] == "bool [B]" and "new_rnn_state" in exported.about["outputs"]
    policy, rng = sfmarl.load_policy(tmp_path / "run"), np.random.default_rng(0)
    state = np.full((3, 6 if rnn == "gru" else 12), 0.7, np.float32)
    for step in range(12):
        obs = rng.normal(size=(3, 18)).astype(np.float32)
        if step == 6:
            policy.reset()
        first = np.full(3, step in (0, 6))
        inputs = {"obs": obs, "agent_index": np.arange(3), "rnn_state": state, "is_first": first}
        action, _, state = call(exported.path, **inputs)
        assert action.tolist() == list(policy.act(dict(zip(policy.agents, obs, strict=True))).values())


def test_the_file_describes_itself(trained, tmp_path):
    (exported,) = export_run(trained, "torchscript", tmp_path / "a.pt")
    files = {METADATA: ""}
    torch.jit.load(str(exported.path), _extra_files=files)
    about = json.loads(files[METADATA])
    assert about["inputs"] == {"obs": "float32 [B, 12]", "agent_index": "int64 [B]"}
    assert about["outputs"] == {"action": "int64 [B]", "logits": "float32 [B, 5]"}
    assert about["spec"]["agents"] == ["agent_0", "agent_1"] and about["sfmarl_version"] == sfmarl.__version__


@pytest.mark.slow
def test_onnx_by_the_command_line(trained, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    out = tmp_path / "deep/actor.onnx"
    assert main(["export", str(trained), "--format", "onnx", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and f"{ROWS} random rows: largest difference" in printed.out
    assert {p.key for p in onnx.load(out).metadata_props} >= {METADATA}
    assert [p.name for p in out.parent.iterdir()] == ["actor.onnx"], "one file, weights inside"
    action, _ = call(out, obs=np.zeros((7, 12), np.float32), agent_index=np.zeros(7, np.int64))
    assert action.shape == (7,)


@pytest.mark.parametrize("what", ["actions", "logits"])
def test_an_export_that_does_not_agree_is_not_kept(trained, tmp_path, monkeypatch, what):
    genuine = exported_actor.ExportedActor.forward

    def forward(self, obs, agent_index=None):
        action, logits = genuine(self, obs, agent_index)
        return (action + 1, logits) if what == "actions" else (action, logits * 1.1)

    monkeypatch.setattr(exported_actor.ExportedActor, "forward", forward)
    with pytest.raises(RunError, match="does not agree with load_policy"):
        export_run(trained, "torchscript", tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said(trained, tmp_path, monkeypatch, capsys):
    with pytest.raises(UsageError, match=r"no policy 'agnt', only agent\. Did you mean 'agent'"):
        export_run(trained, "torchscript", policy="agnt")
    with pytest.raises(UsageError, match="neither a run directory nor a checkpoint"):
        export_run(tmp_path, "torchscript")
    with pytest.raises(UsageError, match="format = 'onxx'"):
        export_run(trained, "onxx")
    (tmp_path / "file").write_text("")
    assert main(["export", str(trained), "--out", str(tmp_path / "file/a.pt")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_onnx_without_its_packages_says_what_to_install(trained, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx, onnxruntime, onnxscript: pip install 'sfmarl\[export\]'"):
        export_run(trained, "onnx")


def test_a_users_file_that_moved_is_named_with_imports(tmp_path, capsys):
    """The run remembers where the file was; `--imports` says where it is now."""
    save_run(tmp_path / "run", SPREAD)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "imports": [str(tmp_path / "gone.py")]}))
    (tmp_path / "moved.py").write_text("")
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "gone.py" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "run"), "--imports", str(tmp_path / "moved.py")]) == 0
