"""`make learn` and its neighbours: tasks that can be planned, scores with known answers, verdicts, a fleeing prey."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sfmarl.envs.registry import load_spec
from sfmarl.errors import UsageError
from sfmarl.run.plan import make_plan
from sfmarl.run.runner import train

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {
    "connect_four": ["pygame"],
    "leduc": ["pyspiel"],
    "multiwalker": ["Box2D"],
    "pistonball": ["pymunk", "supersuit"],
    "lbf": ["lbforaging"],
}
"""Task -> packages of extras."""
NAMES = ["penalty", "climbing", "tag", "connect_four", "leduc", "spread_continuous", "multiwalker", "pistonball", "lbf"]


@pytest.fixture(autouse=True)
def _recipes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "launch"))


@pytest.mark.parametrize("name", NAMES)
def test_every_task_can_be_planned(name: str):
    from tasks import TASKS

    assert list(TASKS) == NAMES
    task = TASKS[name]
    for package in NEEDS.get(name, ()):
        if find_spec(package) is None:
            with pytest.raises(UsageError, match="pip install"):
                load_spec(task.config())
            pytest.skip(f"without {package}")
    config = task.config()
    plan = make_plan(config, load_spec(config))
    assert plan.batch_lanes[0] <= plan.plane.lanes_of_policy(0)


def run_of(task: str, seed: int, value: float, **beside: float) -> dict:
    return {
        "recipe": task,
        "seed": seed,
        "env": "an env",
        "env_kwargs": {},
        "score": {
            "metric": "a metric",
            "env_version": "package 1.0",
            "value": value,
            "half_width": 0.5,
            "episodes": 200,
            "beside": beside,
        },
        "env_steps": 1000,
        "wall_seconds": 10.0 * seed,
        "machine": {"cores": 2, "cpu": "a CPU", "python": "3.11", "torch": "2.13", "numpy": "2.4"},
    }


def test_verdicts(tmp_path: Path):
    import learn_report

    runs = {("penalty", seed): run_of("penalty", seed, 250.0) for seed in (1, 2, 3)}
    runs |= {("climbing", seed): run_of("climbing", seed, 125.0 + seed) for seed in (1, 2, 3)}
    runs |= {("tag", seed): run_of("tag", seed, 20.0 + seed, random=4.0) for seed in (1, 2, 3)}
    runs |= {
        ("multiwalker", seed): run_of("multiwalker", seed, 5.0 * seed, start=8.0, random=-90.0) for seed in (1, 2, 3)
    }

    table = learn_report.write(runs, tmp_path)

    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()}
    assert ">= 250: reached" in rows["penalty"] and "| 20 |" in rows["penalty"], "wall seconds are a median"
    assert ">= 175: MISSED" in rows["climbing"]
    assert "above random: reached (18.0 ± 2.5)" in rows["tag"]
    assert "above start: MISSED" in rows["multiwalker"], "an interval that holds 0 is no improvement"
    assert "above random: reached" in rows["multiwalker"]
    assert "package 1.0" in (tmp_path / "learn.md").read_text()


def test_the_prey_flees_from_the_nearest_predator_and_stays_at_home():
    from tag_scripted_prey import MOVES, flee

    team = load_spec_of_prey()
    rng = np.random.default_rng(0)

    def move(position=(0, 0), predators=((5, 5), (5, 5), (5, 5)), obstacles=((9, 9), (9, 9))):
        row = np.concatenate([np.zeros(2), position, np.ravel(obstacles), np.ravel(predators)])
        action = flee(np.float32(row)[None, None], None, team, rng)
        assert action.shape == (1, 1)
        return MOVES[action[0, 0]].tolist()

    assert move(predators=((0.2, 0), (0.5, 3), (4, 4))) == [-1, 0]
    assert move(predators=((0, -0.2), (3, 0), (3, 3))) == [0, 1]
    assert move(position=(0.99, 0), predators=((-1.5, 0), (-3, 0), (-3, 0))) == [-1, 0], "it does not run away for ever"


def load_spec_of_prey():
    from suites import launch_config

    return load_spec(launch_config("tag_scripted_prey")).team("agent")


def test_scores_of_a_game_with_a_known_answer(tmp_path: Path):
    """A policy that has learned nothing yet and the penalty game: returns are sums of -k, 0, 2 and 10."""
    import scores
    from tasks import TASKS

    config = TASKS["penalty"].config()
    config.mode, config.env_steps, config.num_workers, config.num_envs_per_worker = "serial", 12_000, 1, 16
    config.eval_env_steps, config.final_eval_episodes, config.quiet, config.run_dir = 0, 0, True, tmp_path / "run"
    result = train(config)

    common, team = scores.common_return(result, 8), scores.team_return(result, 8)
    improved = scores.above_start(result, 8)

    assert (common.value, team.value, common.half_width, common.episodes) == (250.0, 500.0, 0.0, 8)
    # before learning, too, a greedy pair of policies repeats one pair of actions
    assert improved.value == 500.0 and improved.beside["start"] in {0.0, 100.0, 500.0}
    assert improved.beside["start ±"] == 0.0
    # of nine pairs of actions two are worth 10 and one 2: 22 / 9 per repetition and agent
    assert improved.beside["random"] == pytest.approx(2 * 25 * 22 / 9, abs=25)


def test_nash_conv_of_the_uniform_policy(tmp_path: Path):
    """4.747 is what OpenSpiel says of uniform play: a policy whose logits are all 0."""
    pytest.importorskip("pyspiel")
    pytest.importorskip("open_spiel.python")
    import leduc
    import torch
    from suites import launch_config

    from sfmarl.storage.checkpoint import latest

    config = launch_config("leduc_selfplay")
    config.mode, config.env_steps, config.num_workers, config.num_envs_per_worker = "serial", 1, 1, 4
    config.final_eval_episodes, config.quiet, config.run_dir = 0, True, tmp_path / "run"
    state = latest(train(config).run_dir).read_policy("main")
    initial = leduc.nash_conv(state)
    last = max(name for name in state.actor_tensors if name.endswith("weight"))
    for name in (last, last.replace("weight", "bias")):
        state.actor_tensors[name] = torch.zeros_like(state.actor_tensors[name])

    assert leduc.nash_conv(state) == pytest.approx(leduc.UNIFORM, abs=1e-3) and initial != leduc.UNIFORM
