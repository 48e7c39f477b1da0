"""Settings: checked before anything is built, and the same after a trip through config.json."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config, default_run_dir
from sfmarl.envs.registry import load_spec
from sfmarl.errors import UsageError
from sfmarl.run.plan import make_plan
from sfmarl.run.validate import validate
from sfmarl.run.validate_env import validate_for_env
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec
from sfmarl.storage.config_file import from_json, read_config, write_config


def settings(**changes) -> Config:
    return Config(**{"env": "mpe2.simple_spread_v3", **changes})


def test_defaults_are_legal():
    validate(settings())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env": " "}, ["environment"]),
        ({"algo": "mapo"}, ["mapo", "mappo"]),
        ({"mode": "asynch"}, ["mode", "asynch", "async | sync | serial"]),
        ({"death": "gone"}, ["death", "terminal | masked"]),
        ({"seed": -1}, ["seed", "at least 0"]),
        ({"env_steps": 0}, ["env_steps", "at least 1"]),
        ({"env_steps": "many"}, ["env_steps", "many", "int"]),
        ({"env_steps": True}, ["env_steps", "bool"]),
        ({"env_steps": 1e6}, ["env_steps", "float"]),
        ({"wall_seconds": float("nan")}, ["wall_seconds", "nan"]),
        ({"log_seconds": 0}, ["log_seconds", "greater than 0"]),
        ({"ring": 1}, ["ring", "at least 2"]),
        ({"rollout": 0}, ["rollout", "at least 1"]),
        ({"num_envs_per_worker": 15, "num_splits": 2}, ["num_envs_per_worker = 15", "num_splits = 2"]),
        ({"stop_score": 1.0, "eval_env_steps": 0}, ["stop_score", "eval_env_steps"]),
        ({"device": "gpu"}, ["device", "gpu", "cuda"]),
        ({"device": "cuda", "mode": "serial"}, ["serial", "CPU"]),
        ({"inference": "gpu"}, ["inference", "worker", "local"]),
        ({"inference": "local", "num_inference_workers": 2}, ["num_inference_workers = 2", "local"]),
        ({"device": "cuda:99"}, ["cuda:99", "CUDA devices"]),
        ({"teams": "everyone"}, ["teams", "everyone", "each"]),
        ({"teams": '{"a": ["x"]'}, ["teams", "JSON"]),
        ({"teams": "{}"}, ["teams", "filled"]),
        ({"sharing": "[1]"}, ["sharing", "JSON object"]),
        ({"sharing": '{"agent_0": 1}'}, ["sharing", "agent_0", "1"]),
        ({"env_kwargs": {"reward": np.float32(1)}}, ["env_kwargs", "JSON", "module:callable"]),
        ({"env_kwargs": {1: 2}}, ["env_kwargs", "string"]),
        ({"policies": {"agent": 3}}, ["policies", "agent"]),
        ({"hp": {"lr": 1e-3}}, ["hp", "dict", "mappo"]),
        (
            {"hp": replace(get_algorithm("mappo").hyperparameters(), lr_schedule="cosin")},
            ["lr_schedule", "cosin", "constant | linear | cosine"],
        ),
        ({"death": "masked"}, ["death = masked", "team_reward = env", "sum or mean"]),
        ({"imports": (3,)}, ["imports", "3"]),
        ({"callbacks": ("",)}, ["callbacks", "no name"]),
        ({"reward": "nosuch"}, ["no reward named 'nosuch'", "--imports"]),
        ({"reward": "posixpath:join?sharp=1"}, ["posixpath:join", "sharp"]),
        ({"reward": None}, ["reward", "None"]),
        ({"info_metrics": ("win", "win:mean")}, ["info_metrics", "'win'", "twice"]),
        ({"run_dir": 5}, ["run_dir", "int", "Path"]),
    ],
)
def test_a_mistake_is_named_with_what_to_do(changes, words):
    with pytest.raises(UsageError) as caught:
        validate(settings(**changes))
    for word in words:
        assert word in str(caught.value)


def test_every_number_has_a_smallest_value():
    numbers = {f.name for f in dataclasses.fields(Config) if f.type in ("int", "float")}
    assert len(numbers) > 10
    for name in sorted(numbers):
        kind = type(getattr(settings(), name))
        with pytest.raises(UsageError, match=name):
            validate(settings(**{name: kind(-1)}))


def test_local_inference_is_on_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    validate(settings(device="cuda"))
    with pytest.raises(UsageError, match="inference = worker, whose forward passes run on the GPU, or device = cpu"):
        validate(settings(device="cuda", inference="local"))
    assert make_plan(settings(inference="local"), load_spec(settings())).device == "cpu"


@pytest.mark.parametrize(
    ("asked", "meant"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")]
)
def test_a_gpu_is_known_by_its_number(asked, meant, monkeypatch):
    """`torch.cuda.set_device`, with which learners and inference workers begin, takes no device without one."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert make_plan(settings(device=asked), load_spec(settings())).device == meant


def test_explicit_teams_and_roles_pass():
    validate(settings(teams='{"left": ["agent_0"], "right": ["agent_1", "agent_2"]}', sharing='{"agent_0": "scout"}'))


def test_a_new_run_needs_a_free_directory(tmp_path: Path):
    validate(settings(run_dir=tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=f"resume {tmp_path}"):
        validate(settings(run_dir=tmp_path))
    with pytest.raises(UsageError, match="exists already"):
        validate(settings(run_dir=tmp_path / "config.json"))
    validate(settings(run_dir=tmp_path), new_run=False)


def test_default_run_dir_is_one_path_component_below_runs():
    path = default_run_dir(settings(env="pkg.mod:make/../env", algo="ippo", seed=7))
    assert path.parent == Path("runs")
    assert path.name.startswith("pkg.mod-make-..-env-ippo-s7-")


def team(name: str, agents: int, obs: int = 4) -> TeamSpec:
    return TeamSpec(
        name,
        tuple(f"{name}_{i}" for i in range(agents)),
        ObsSpec((obs,), np.dtype(np.float32)),
        ActionSpec("discrete", (5,), (0,)),
    )


TWO_TEAMS = EnvSpec("scripted", (team("fox", 2), team("hare", 1)))
EQUAL_TEAMS = EnvSpec("scripted", (team("fox", 2), team("hare", 2)))


@pytest.mark.parametrize(
    ("spec", "changes", "tightest", "largest"),
    [
        # (ring - 1) * rollout * workers * envs * agents of the smaller team
        (TWO_TEAMS, {}, "hare", 2 * 8 * 2 * 4 * 1),
        (TWO_TEAMS, {"ring": 2}, "hare", 1 * 8 * 2 * 4 * 1),
        (replace(TWO_TEAMS, turn_based=True), {}, "hare", 2 * 8 * 2 * 4 * 1),
        # one policy of both teams has twice the lanes; agents that take turns are lanes of their own
        (EQUAL_TEAMS, {"policies": {"fox": "both", "hare": "both"}}, "both", 2 * 8 * 2 * 4 * (2 + 2)),
        (replace(EQUAL_TEAMS, turn_based=True), {}, "fox", 2 * 8 * 2 * 4 * 2),
    ],
)
def test_the_largest_batch_leaves_one_ring_position_to_be_filled(spec, changes, tightest, largest):
    sizes = {"ring": 3, "rollout": 8, "num_envs_per_worker": 4} | changes
    validate_for_env(settings(batch_size=largest, **sizes), spec, num_workers=2)
    with pytest.raises(UsageError, match=rf"batch_size = {largest + 1}.*{tightest!r}.*{largest} agent-steps"):
        validate_for_env(settings(batch_size=largest + 1, **sizes), spec, num_workers=2)


def test_a_batch_counts_in_whole_slots():
    """Slots of 8 steps x 2 agents: 17 agent-steps are two slots, and one lane with a ring of 2 spares one."""
    one_lane = {"ring": 2, "rollout": 8, "num_envs_per_worker": 1, "num_splits": 1}
    foxes = EnvSpec("scripted", (team("fox", 2),))
    validate_for_env(settings(batch_size=9, **one_lane), foxes, num_workers=1)
    with pytest.raises(UsageError, match="16 agent-steps"):
        validate_for_env(settings(batch_size=17, **one_lane), foxes, num_workers=1)


def test_roles_of_agents_that_do_not_exist_are_refused():
    validate_for_env(settings(sharing='{"fox_0": "a", "fox_1": "b", "hare_0": "a"}'), TWO_TEAMS, num_workers=1)
    with pytest.raises(UsageError, match=r"'fox_7', 'wolf'.*fox_0, fox_1, hare_0.*Did you mean 'fox_"):
        validate_for_env(settings(sharing='{"fox_0": "a", "fox_7": "b", "wolf": "b"}'), TWO_TEAMS, num_workers=1)
    numbered = EnvSpec("scripted", (replace(team("fox", 2), agents=(0, 1)),))
    validate_for_env(settings(sharing='{"0": "a", "1": "b"}'), numbered, num_workers=1)


@pytest.mark.parametrize("team_reward", ["sum", "mean"])
def test_masked_death_with_a_reward_of_the_team(team_reward):
    validate(settings(death="masked", team_reward=team_reward))


def test_policies_must_name_teams_that_exist_and_fit():
    with pytest.raises(UsageError, match=r"'wolf'.*fox, hare"):
        validate_for_env(settings(policies={"wolf": "main"}), TWO_TEAMS, num_workers=1)
    shared = {"fox": "main", "hare": "main"}
    with pytest.raises(UsageError, match=r"'main'.*'fox'.*'hare'"):
        validate_for_env(settings(policies=shared), TWO_TEAMS, num_workers=1)
    unequal = EnvSpec("scripted", (team("fox", 1), team("hare", 1, obs=5)))
    with pytest.raises(UsageError, match="'main'"):
        validate_for_env(settings(policies=shared), unequal, num_workers=1)
    validate_for_env(settings(policies=shared), EnvSpec("scripted", (team("fox", 2), team("hare", 2))), num_workers=1)


def test_a_mapping_of_policies_with_holes():
    """Who is left out has a policy of its own; it must not slip into one that was meant for others."""
    hares = EnvSpec("scripted", (team("fox", 2), team("hare", 2), team("owl", 2)))
    validate_for_env(settings(policies={"fox": "main", "owl": "main"}), hares, num_workers=1)
    validate_for_env(settings(policies={"fox": "hare", "hare": "hare"}), hares, num_workers=1)
    validate_for_env(settings(policies={"fox": "hare", "hare": "fox"}), hares, num_workers=1)
    with pytest.raises(UsageError, match=r"'fox' the policy 'hare'.*leaves out team 'hare'.*fox=hare hare=hare"):
        validate_for_env(settings(policies={"fox": "hare"}), hares, num_workers=1)
    with pytest.raises(UsageError, match=r"'foxx'.*fox, hare, owl.*Did you mean 'fox'"):
        validate_for_env(settings(policies={"foxx": "main"}), hares, num_workers=1)
    with pytest.raises(UsageError, match="'owl' no policy"):
        validate_for_env(settings(policies={"owl": " "}), hares, num_workers=1)


def test_who_does_not_learn_bounds_no_batch_and_a_script_plays_unlike_teams():
    unequal = EnvSpec("scripted", (team("fox", 2), team("hare", 1), team("owl", 1, obs=5)))
    scripted = {"players": {"dumb": {"script": "random"}}, "policies": {"hare": "dumb", "owl": "dumb"}}
    sizes = {"ring": 2, "rollout": 8, "num_envs_per_worker": 4, "batch_size": 8 * 4 * 2}
    validate_for_env(settings(**sizes, **scripted), unequal, num_workers=1)
    with pytest.raises(UsageError, match=r"'hare' can learn from at most 32"):
        validate_for_env(settings(**sizes), unequal, num_workers=1)


def test_hyperparameters_of_one_policy_are_checked_like_the_runs():
    with pytest.raises(UsageError, match=r"players: 'hare': critic = 'stat'.*own \| state"):
        validate_for_env(settings(players={"hare": {"critic": "stat"}}), TWO_TEAMS, num_workers=1)
    with pytest.raises(UsageError, match=r"players: 'hare': normalise_values = 'no'"):
        validate_for_env(settings(players={"hare": {"normalise_values": "no"}}), TWO_TEAMS, num_workers=1)


def test_a_state_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match=r"state\(\).*joint"):
        validate_for_env(settings(state_source="env"), TWO_TEAMS, num_workers=1)
    joint = replace(TWO_TEAMS, state_is_joint=True)
    validate_for_env(settings(state_source="env"), joint, num_workers=1)


@pytest.mark.parametrize("algo", ["ippo", "mappo", "appo", "a2c"])
def test_config_survives_its_json_file(tmp_path: Path, algo: str):
    config = settings(
        algo=algo,
        hp=replace(get_algorithm(algo).hyperparameters(), lr=3e-4),
        env_kwargs={"N": 3, "nested": {"a": [1, None, True]}},
        run_dir=tmp_path / "run",
        stop_score=-36.0,
        policies={"agent": "main"},
    )
    write_config(config, tmp_path / "config.json")
    assert read_config(tmp_path / "config.json") == config


def test_config_without_hyperparameters_survives(tmp_path: Path):
    write_config(settings(), tmp_path / "config.json")
    assert read_config(tmp_path / "config.json") == settings()


@dataclasses.dataclass
class _Sizes:
    hidden: tuple[int, ...] = (64, 64)
    clip: float | None = None


def test_tuples_come_back_as_tuples():
    config = _Sizes(hidden=(3, 4, 5))
    assert from_json(_Sizes, json.loads(json.dumps(dataclasses.asdict(config))), "here") == config


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["not a run directory"]),
        ("{", ["cannot be read"]),
        ("[]", ["not a settings file"]),
        ('{"name": "something else"}', ["not a settings file"]),
        ('{"env": "e", "algo": "nosuch", "hp": {}}', ["nosuch"]),
        ('{"env": "e", "algo": "mappo", "rolout": 8, "sfmarl_version": "9.9"}', ["rolout", "'rollout'", "9.9"]),
        ('{"env": "e", "algo": "mappo", "hp": {"lrr": 1}}', ["lrr", "'lr'"]),
        ('{"env": "e", "algo": "mappo", "hp": 3}', ["expected an object"]),
        ('{"env": "e", "algo": "mappo", "hp": {"hidden": 5}}', ["hidden", "got 5"]),
        ('{"env": "e", "algo": "mappo", "hp": {"hidden": [8.0]}}', ["hidden", "8.0"]),
        ('{"env": "e", "algo": "mappo", "hp": {"epochs": 4.0}}', ["epochs", "4.0", "int"]),
    ],
)
def test_a_foreign_or_damaged_settings_file_is_refused(tmp_path: Path, content: str | None, words: list[str]):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    for word in [str(tmp_path), *words]:
        assert word in str(caught.value)
