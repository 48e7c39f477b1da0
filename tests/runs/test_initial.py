"""Fine-tuning: a run that begins with another's weights, and what is said when they do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import config

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.errors import UsageError
from sfmarl.run.runner import resume, train
from sfmarl.storage.checkpoint import Checkpoint, checkpoint_paths, latest, mark_best

HP = Hyperparameters(critic="own", hidden=(16,), epochs=2)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A finished run on the climbing game."""
    run_dir = tmp_path_factory.mktemp("initial") / "old"
    return train(config(run_dir, mode="serial", num_workers=1, env_steps=1500)).run_dir


def settings(run_dir, **changes):
    return config(run_dir, mode="serial", num_workers=1, env_steps=300, seed=9, **changes)


def state_at_start(run_dir) -> dict[str, torch.Tensor]:
    first = checkpoint_paths(run_dir)[-1]
    assert first.name == "step-000000000000"
    return Checkpoint(first).read_policy("agent").algorithm_state["tensors"]


@pytest.mark.parametrize("mode", ["serial", pytest.param("sync", marks=pytest.mark.slow), "async"])
def test_the_first_weights_are_the_old_ones_and_the_optimiser_is_new(old, tmp_path, mode):
    result = train(replace(settings(tmp_path / "new", init_from=str(old)), mode=mode, keep_checkpoints=9))

    begun, ended = state_at_start(tmp_path / "new"), latest(old).read_policy("agent").algorithm_state["tensors"]
    weights = [name for name in ended if not name.startswith(("optimiser", "minibatch"))]
    assert {name.split(".")[0] for name in weights} >= {"actor", "critic", "obs_moments", "value_norm"}
    assert all(torch.equal(begun[name], ended[name]) for name in weights)
    moments = [name for name in begun if name.startswith("optimiser")]
    assert moments and not any(begun[name].any() for name in moments)
    assert any(ended[name].any() for name in moments)
    assert result.summary["env_steps"] < 1500, "counters begin at zero"
    assert result.summary["stopped_by"] == "finished"
    after = latest(tmp_path / "new").read_policy("agent").algorithm_state["tensors"]
    assert not torch.equal(after["actor.network.layers.1.bias"], begun["actor.network.layers.1.bias"])


def test_what_best_meant_is_recorded_and_a_checkpoint_can_be_named(old, tmp_path):
    first = checkpoint_paths(old)[-1]
    mark_best(old, first, 1.0, "m")
    try:
        result = train(settings(tmp_path / "best", init_from={"agent": f"{old}:agent"}))
        named = train(settings(tmp_path / "named", init_from=str(latest(old).path)))
    finally:
        (old / "checkpoints/best.json").unlink()
    assert f'"agent": "{first}:agent"' in (result.run_dir / "config.json").read_text()
    best, last = (state_at_start(run.run_dir)["actor.network.layers.1.bias"] for run in (result, named))
    assert not torch.equal(best, last)


@pytest.mark.parametrize("key", ["right", "idle"])
def test_a_policy_that_does_not_learn_begins_with_nothing(old, tmp_path, key):
    """Whoever asks for weights that would not be used is told, by the policy's name or its team's."""
    pair = {"teams": '{"left": ["agent_0"], "right": ["agent_1"]}', "policies": {"right": "idle"}}
    first = train(settings(tmp_path / "first", **pair)).run_dir
    frozen = settings(tmp_path / "new", players={"idle": {"frozen": str(first)}}, init_from={key: str(first)}, **pair)
    with pytest.raises(UsageError, match=r"init_from names 'idle'|init_from names 'right'"):
        train(frozen)


def test_a_policy_without_a_source_begins_as_in_any_run(tmp_path):
    pair = {"teams": '{"left": ["agent_0"], "right": ["agent_1"]}', "env_steps": 200, "mode": "serial"}
    plain = train(config(tmp_path / "plain", num_workers=1, keep_checkpoints=9, **pair)).run_dir
    other = train(config(tmp_path / "other", num_workers=1, seed=5, **pair)).run_dir
    tuned = config(tmp_path / "tuned", num_workers=1, keep_checkpoints=9, init_from={"right": f"{other}:left"}, **pair)
    train(tuned)

    def first(run, policy):
        return Checkpoint(checkpoint_paths(run)[-1]).read_policy(policy).actor_tensors["network.layers.0.weight"]

    assert torch.equal(first(tuned.run_dir, "left"), first(plain, "left"))
    source = Checkpoint(checkpoint_paths(other)[0]).read_policy("left").actor_tensors["network.layers.0.weight"]
    assert torch.equal(first(tuned.run_dir, "right"), source)
    with pytest.raises(UsageError, match=r"holds no policy 'agent', only left, right\. Say which one policy 'agent'"):
        train(settings(tmp_path / "x", init_from=str(other)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"hp": replace(HP, hidden=(8,))},
            [r"actor\.network\.layers\.0\.weight: saved as \(1, 1, 16\), expected \(1, 1, 8\)", r"hidden = \[8\]"],
        ),
        ({"hp": replace(HP, normalise_obs=False)}, ["actor.normaliser.mean", "normalise_obs = False.*with True"]),
        ({"hp": replace(HP, critic="state")}, ["critic = state, the policy was trained with own"]),
        (
            {"env": "mpe2.simple_spread_v3", "init": {"agent": ""}},
            [r"observation: shape \(18,\) of float32.*\(1,\)", "action: discrete with 5 choices.*with 3 choices"],
        ),
        ({"sharing": "none"}, [r"sharing: agents use sets \(0, 1\).*\(0, 0\)"]),
        ({"init": {"agnt": ""}}, [r"'agnt', but the policies that learn in this run are agent\. Did you mean 'agent'"]),
        ({"init": ":agnt"}, ["holds no policy 'agnt', only agent. Did you mean 'agent'"]),
        ({"init": "/nowhere"}, ["neither a run directory nor a checkpoint"]),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(old, tmp_path, changes, words):
    changes = dict(changes)
    init = changes.pop("init", "")
    init = {key: str(old) for key in init} if isinstance(init, dict) else f"{old}{init}"
    with pytest.raises(UsageError) as refused:
        train(settings(tmp_path / "new", init_from=init, **changes))
    for expected in words:
        assert refused.match(expected)
    assert list(tmp_path.iterdir()) == []


def test_teams_of_another_size_say_which_tensor(tmp_path):
    small, large = ({"env": "mpe2.simple_spread_v3", "env_kwargs": {"N": n, "max_cycles": 5}} for n in (2, 2))
    small["teams"] = "each"
    train(settings(tmp_path / "old", **small))
    with pytest.raises(UsageError, match=r"ids\.weight.*agents: 2, the policy was trained with 1"):
        train(settings(tmp_path / "new", init_from={"agent": f"{tmp_path / 'old'}:agent_0"}, **large))


def test_an_algorithm_that_cannot_take_over_weights_says_so(old, tmp_path, monkeypatch):
    from sfmarl.algorithms.ppo import PPO

    monkeypatch.delattr(PPO, "load_weights")
    with pytest.raises(UsageError, match="PPO cannot take over weights"):
        train(settings(tmp_path / "new", init_from=str(old)))


def test_evaluation_after_a_moment_of_training_is_still_the_old_policy(old, tmp_path):
    """The behaviour, not only the tensors: greedy actions on raw observations agree."""
    import sfmarl

    train(settings(tmp_path / "new", init_from=str(old)))
    seen = {agent: np.ones(1, np.float32) for agent in ("agent_0", "agent_1")}
    before = sfmarl.load_policy(old, checkpoint="latest").act(seen)
    assert sfmarl.load_policy(tmp_path / "new", checkpoint="step-000000000000").act(seen) == before


def test_a_run_does_not_go_on_with_a_checkpoint_of_another_environment(tmp_path):
    run_dir = train(settings(tmp_path / "run")).run_dir
    before = (run_dir / "config.json").read_text()
    for env, expected in (
        ("mpe2.simple_spread_v3", r"Policy 'agent': observation: shape \(18,\).*action: discrete with 5.*agents: 3"),
        ("mpe2.simple_tag_v3", "holds no policy 'adversary', only agent"),
    ):
        (run_dir / "config.json").write_text(before.replace("games/climbing", env))
        with pytest.raises(UsageError, match=expected):
            resume(run_dir, env_steps=900)
        assert env in (run_dir / "config.json").read_text(), "untouched"
