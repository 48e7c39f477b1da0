"""The examples of launch/extend, what the README shows of them, and a user's file in the processes of a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sfmarl import user_code
from sfmarl.algorithms import ALGORITHMS, register_algorithm
from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.command.cli import main
from sfmarl.config import Config, LeagueConfig
from sfmarl.envs.registry import ENVS, load_spec
from sfmarl.errors import UsageError
from sfmarl.evaluation.contestants import actor_of
from sfmarl.evaluation.evaluate import evaluate_run
from sfmarl.league.matchmakers import MATCHMAKERS
from sfmarl.league.pool import EVICTION
from sfmarl.league.snapshot import SnapshotMeta, freeze
from sfmarl.models.actor import Actor
from sfmarl.models.custom import MODELS
from sfmarl.models.encoders import NetConfig
from sfmarl.monitor.metrics import USER_METRICS, describe
from sfmarl.run.callbacks import CALLBACKS
from sfmarl.run.runner import TrainResult, check_run, train
from sfmarl.storage.checkpoint import latest
from sfmarl.user_code import import_user_code, module_name
from sfmarl.workers.shaping import REWARDS

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "launch" / "extend").glob("*.py"))


@pytest.fixture
def own_names(monkeypatch):
    """Whatever a test registers or imports is forgotten again."""
    for registry in (ALGORITHMS, ENVS, MODELS, USER_METRICS, CALLBACKS, REWARDS, MATCHMAKERS, EVICTION):
        monkeypatch.setattr(registry, "_values", dict(registry))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(user_code.FILE_PREFIX) or name in ("own_env", "beside"):
            del sys.modules[name]


def run_example(name: str, run_dir: Path, **settings) -> TrainResult:
    """Run an example's settings for a few thousand steps."""
    path = ROOT / "launch" / "extend" / f"{name}.py"
    import_user_code([str(path)])
    config = sys.modules[module_name(path)].CONFIG
    return train(
        replace(
            config,
            mode="serial",
            env_steps=min(config.env_steps, 6000),
            num_envs_per_worker=16,
            rollout=16,
            eval_env_steps=3000,
            eval_episodes=4,
            final_eval_episodes=8,
            log_seconds=0.2,
            quiet=True,
            run_dir=run_dir,
            **settings,
        )
    )


def written(result: TrainResult) -> set[str]:
    names = set().union(*result.metrics()) - {"time", "wall_seconds", "env_steps", "agent_steps"}
    assert not [name for name in names if describe(name) is None]
    return names


def test_there_is_an_example_of_each_kind():
    assert [path.stem for path in EXAMPLES] == [
        "own_algorithm",
        "own_callback",
        "own_env",
        "own_matchmaker",
        "own_metric",
        "own_model",
        "own_reward",
    ]


def test_own_env(tmp_path, own_names):
    result = run_example("own_env", tmp_path / "run")
    assert {"info/met/agent", "eval/info/met/agent"} <= written(result)
    met = result.summary["evaluation"]["infos"]["met/agent"]["mean"]
    assert result.summary["evaluation"]["teams"]["agent"]["mean"] == pytest.approx(2 * 16 * met)
    assert result.summary["evaluation"]["env_version"].startswith("own_env.py, SHA-256 ")


def test_own_reward(tmp_path, own_names):
    result = run_example("own_reward", tmp_path / "run")
    assert {"episode/shaped_return_team/agent", "episode/return_team/agent"} <= written(result)
    for line in result.metrics():
        if "episode/length" in line:
            assert line["episode/shaped_return_team/agent"] != line["episode/return_team/agent"]


@pytest.mark.slow
def test_own_model(tmp_path, own_names):
    result = run_example("own_model", tmp_path / "run")
    actor = latest(result.run_dir).read_policy("agent").actor_tensors
    assert "network.conv.encoders.0.each.0.weight" in actor
    first, seen = actor["network.layers.0.weight"], result.policy()
    assert first.shape[1] == 4 + 32 + 8 and seen.agents == ("agent_0", "agent_1", "agent_2")


def test_own_callback(tmp_path, own_names):
    result = run_example("own_callback", tmp_path / "run")
    assert "custom/best_return" in written(result)
    best = [line["custom/best_return"] for line in result.metrics() if "custom/best_return" in line]
    assert best == sorted(best)


def test_own_metric(tmp_path, own_names):
    result = run_example("own_metric", tmp_path / "run")
    assert {"unfairness", "together", "eval/unfairness", "eval/together"} <= written(result)
    assert result.summary["evaluation"]["metrics"]["unfairness"] == 0.0


def test_own_matchmaker(tmp_path, own_names):
    few = {"snapshot_env_steps": 400, "pool_size": 5, "live_snapshots": 2}
    league = LeagueConfig(matchmaker="even?width=0.25", eviction="middle?keep=1", **few)
    result = run_example("own_matchmaker", tmp_path / "run", league=league)
    assert "league/main/elo" in written(result)
    state = latest(result.run_dir).run_state["league"]["pool"]
    numbers = [entry["number"] for entry in state["entries"]]
    assert len(numbers) == 5 and numbers[0] == 0 and numbers[-1] == state["next"] - 1 > 6, "the middle ones went"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["league"]["eviction"] == "middle?keep=1"


def test_own_algorithm(tmp_path, own_names):
    """REINFORCE finds one of the two optima (100) of the penalty game."""
    result = run_example("own_algorithm", tmp_path / "run")
    assert {"learner/agent/loss_policy", "learner/agent/entropy"} <= written(result)
    assert result.summary["evaluation"]["agents"]["agent_0"]["mean"] > 20
    assert evaluate_run(tmp_path / "run", episodes=2).episodes == 2


def test_own_algorithm_in_a_league(tmp_path, own_names, capsys):
    """Its settings are of any form: a snapshot describes the network itself."""
    few = {"snapshot_env_steps": 400, "pool_size": 5, "live_snapshots": 2}
    game = {"env": "native/tic_tac_toe", "num_workers": 1, "league": LeagueConfig(**few)}
    run_example("own_algorithm", tmp_path / "run", **game)
    assert main(["tournament", f"{tmp_path / 'run'}", f"{tmp_path / 'run'}@snapshots", "--games", "2"]) == 0
    assert "own snapshots" in capsys.readouterr().out


class OwnNetwork(torch.nn.Linear):
    """A network that sfmarl knows nothing of."""

    @staticmethod
    def central_critic(hp):
        """It has none."""
        return False

    @staticmethod
    def build_actor(spec, hp, seed=0):
        """Build it."""
        return OwnNetwork(2, 2)


class OwnActor(OwnNetwork):
    """One that is an actor, and more."""

    @staticmethod
    def build_actor(spec, hp, seed=0):
        """Build it."""
        return type("Wider", (Actor,), {})(spec, NetConfig((4,)))


def test_networks_of_an_own_algorithm_are_described_or_refused(tmp_path, own_names):
    register_algorithm("network", OwnNetwork, hyperparameters=Hyperparameters)
    register_algorithm("wider", OwnActor, hyperparameters=Hyperparameters)
    config = Config("native/tic_tac_toe", algo="network", league=LeagueConfig(), run_dir=tmp_path / "run")
    with pytest.raises(UsageError, match=r"the network of 'main' is a OwnNetwork .* have build_actor return an Actor"):
        train(config)
    assert not (tmp_path / "run").exists()
    built = check_run(replace(config, algo="wider"), starts=False)[0].architecture
    assert json.loads(built)["actor"]["class"] == "Wider"
    snapshot = freeze(built, np.zeros(3), SnapshotMeta("main"))
    with pytest.raises(UsageError, match=r"weights of a Wider.*Play checkpoints"):
        actor_of(snapshot, load_spec(config))


def test_the_readme_shows_what_the_examples_hold():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    sources = {path.stem: path.read_text() for path in EXAMPLES}
    shown = [(block, stem) for block in blocks for stem, source in sources.items() if block.strip() in source]
    assert {stem for _, stem in shown} == {"own_env"}
    (block,) = [block for block, _ in shown]
    assert len([line for line in block.splitlines() if line.strip()]) <= 26


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_scripts_that_train_between_processes(script, tmp_path):
    """Settings, hyperparameters and functions of `__main__` reach every process."""
    words = ["--env-steps", "6000", "--num-workers", "2", "--eval-env-steps", "0", "--final-eval-episodes", "4"]
    done = run([str(script), *words, "--run-dir", "run"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(["-m", "sfmarl", "evaluate", "run", "--episodes", "3"], tmp_path).returncode == 0


OWN = """\
import os
from dataclasses import dataclass

import psutil

import sfmarl
from beside import PAYOFF
from sfmarl.algorithms.ppo import PPO, Hyperparameters as Base
from sfmarl.envs.games import MatrixGame

with open("imported.txt", "a") as log:
    log.write(psutil.Process().name() + "\\n")


@dataclass
class Hyperparameters(Base):
    critic: str = "own"
    boldness: float = 0.01


class Bold(PPO):
    Hyperparameters = Hyperparameters

    def update(self, batch, progress):
        return {**super().update(batch, progress), "boldness": self.hp.boldness, "reward_max": batch.reward.max()}


def tenfold(transition, factor=10.0):
    return transition.reward * factor


sfmarl.register_env("own/game", lambda: MatrixGame(PAYOFF), "a game")
sfmarl.register_algorithm("bold", Bold, "PPO with boldness")
sfmarl.register_reward("tenfold", tenfold)
"""


def run(words: list[str], cwd: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=110, env=environment, check=False
    )


@pytest.mark.slow
def test_a_file_of_the_users_reaches_every_process(tmp_path, own_names, monkeypatch):
    """Environment, algorithm, hyperparameters and reward of one .py file, by the command line, in a bare directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "beside.py").write_text("PAYOFF = [[1, 0], [0, 0.5]]\n")
    words = ["own/game", "--imports", "own.py", "--algo", "bold", "--boldness", "0.75", "--reward", "tenfold?factor=4"]
    more = ["--env-steps", "3000", "--num-workers", "2", "--eval-env-steps", "0", "--final-eval-episodes", "0"]
    done = run(["-m", "sfmarl", "train", *words, *more, "--run-dir", "run", "--log-seconds", "0.5"], tmp_path)
    assert done.returncode == 0, done.stderr
    processes = set((tmp_path / "imported.txt").read_text().split())
    assert {"sf-rollout-0", "sf-rollout-1", "sf-inference-0", "sf-learner-0", "sf-evaluator-0"} <= processes
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    learned = [line for line in lines if "learner/agent/boldness" in line]
    assert {line["learner/agent/boldness"] for line in learned} == {0.75}
    assert 0.5 < max(line["learner/agent/reward_max"] for line in learned) <= 4.0
    for line in lines:
        if "episode/length" in line:
            shaped = line["episode/shaped_return_team/agent"]
            assert shaped == pytest.approx(4 * line["episode/return_team/agent"])
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["imports"] == [str(tmp_path / "own.py")]
    assert evaluate_run(tmp_path / "run", episodes=3).env_version.startswith("sfmarl")
