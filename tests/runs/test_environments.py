"""Environments of the field train with no special code: short runs of real packages, and of recipes with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small import config

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.run.runner import train

ROOT = Path(__file__).parents[2]

ENVIRONMENTS = [
    ("mpe2.simple_speaker_listener_v4", "mpe2", {}, {}),
    ("mpe2.simple_tag_v3", "mpe2", {}, {}),
    ("mpe2.simple_world_comm_v3", "mpe2", {}, {}),
    ("native/simple_tag", "sfmarl", {}, {}),
    ("native/simple_crypto", "sfmarl", {"continuous_actions": True}, {}),
    ("native/simple_reference", "sfmarl", {}, {}),
    ("butterfly/knights_archers_zombies-v11", "pygame", {"spawn_delay": 4, "max_cycles": 200}, {}),
    ("butterfly/pistonball-v6", "pymunk", {"n_pistons": 3, "max_cycles": 8}, {"algo": "ippo", "env_steps": 40}),
    ("sisl/pursuit-v5", "pygame", {"max_cycles": 30}, {}),
    ("sisl/multiwalker-v9", "Box2D", {}, {}),
    ("lbf/Foraging-8x8-2p-2f-coop-v3", "lbforaging", {}, {}),
    ("rware/rware-tiny-2ag-v2", "rware", {"max_steps": 60}, {}),
    ("magent2.environments.battle_v4", "magent2", {"map_size": 12, "max_cycles": 40}, {}),
    ("pettingzoo.classic.connect_four_v3", "pygame", {}, {"algo": "ippo"}),
    ("pettingzoo.classic.tictactoe_v3", "pygame", {}, {"algo": "ippo"}),
    ("pettingzoo.classic.rps_v2", "pygame", {}, {"algo": "ippo"}),
    ("pettingzoo.classic.rps_v2:env", "pygame", {}, {"algo": "ippo"}),
    ("pettingzoo.classic.leduc_holdem_v4", "rlcard", {}, {"algo": "ippo"}),
    ("pettingzoo.classic.hanabi_v5", "shimmy", {}, {"algo": "ippo", "teams": "all"}),
    ("wrapped_envs:padded", "supersuit", {}, {"teams": "each"}),
    ("wrapped_envs:knights", "supersuit", {"black_death": True}, {"frame_stack": 2}),
    ("wrapped_envs:small_pistons", "supersuit", {}, {"frame_stack": 3, "state_source": "joint"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("env", "package", "kwargs", "settings"), ENVIRONMENTS, ids=[env for env, *_ in ENVIRONMENTS])
def test_it_trains_with_no_special_code(tmp_path, monkeypatch, env, package, kwargs, settings):
    pytest.importorskip(package)
    # where wrapped_envs lies
    monkeypatch.syspath_prepend(ROOT / "tests" / "envs")
    central = settings.get("algo") != "ippo"
    short = {
        "mode": "serial",
        "algo": "mappo",
        "hp": Hyperparameters(critic="state" if central else "own", hidden=(8,), epochs=1),
        "num_workers": 1,
        "num_envs_per_worker": 2,
        "env_steps": 250,
        "final_eval_episodes": 1,
    }
    result = train(config(tmp_path / "run", env=env, env_kwargs=kwargs, **{**short, **settings}))
    records = result.metrics()
    losses = [value for record in records for name, value in record.items() if name.endswith("/loss_policy")]
    assert losses and all(value == value for value in losses)
    assert not any(value for r in records for name, value in r.items() if name.endswith("/skipped_updates"))
    evaluation = result.summary["evaluation"]
    assert evaluation["episodes"] == 1 and evaluation["agents"]
    if ":" not in env:
        assert package.lower() in evaluation["env_version"] or "pettingzoo" in evaluation["env_version"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("recipe", "packages", "settings"),
    [
        ("speaker_listener", ["mpe2"], []),
        ("simple_tag", ["mpe2"], []),
        ("lbf_mappo", ["lbforaging"], []),
        ("pistonball_mappo", ["pymunk"], ["--env-kwargs", "n_pistons=3", "max_cycles=25"]),
    ],
)
def test_a_recipe_runs_from_its_script(tmp_path, recipe, packages, settings):
    for package in packages:
        pytest.importorskip(package)
    words = [
        "--env-steps",
        "5000",
        "--final-eval-episodes",
        "2",
        "--eval-env-steps",
        "0",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    command = [sys.executable, str(ROOT / "launch" / f"{recipe}.py"), *words, *settings, "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["env_steps"] >= 5000 and summary["evaluation"]["episodes"] == 2
