"""Every preset learns every kind of task: whole serial runs on tiny tasks whose optimum is known (see `tiny_tasks`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import config
from tiny_tasks import BLIND, CHANCE, LENGTH, PAID, POINTS, Answer, Highest

from sfmarl.algorithms import get_algorithm
from sfmarl.evaluation.evaluate import Evaluation, evaluate_run
from sfmarl.run.runner import train

HP = {"hidden": (32,), "gamma": 0.9, "trace_lambda": 0.9, "lr": 5e-3}
CONTINUOUS = {"gamma": 0.5, "entropy_coef": 0.0, "lr_schedule": "linear"}
"""The mean has to settle: smaller steps in the end, and no bonus for a wide distribution. Pay comes at once."""
NEARLY = 0.95
"""Share of the optimum that is asked for: actions are drawn, and the entropy bonus leaves a little doubt."""
MEMORY = {"hidden": (16,), "actor_rnn": "gru", "critic_rnn": "gru", "rnn_size": 16, "minibatches": 2}


def learned(run_dir: Path, algo: str, env_steps: int, greedy: bool = False, **settings: Any) -> Evaluation:
    """Train serially and return the evaluation of 64 episodes beside that of random play.

    Actions are drawn: the most probable ones of a policy that has learned nothing may be right by luck.

    `a2c`, with its one pass over each batch, gets three times the env-steps and four times the step size.
    """
    hp = get_algorithm(algo).hyperparameters()
    for name, value in (HP | settings.pop("hp", {})).items():
        setattr(hp, name, value)
    if algo == "a2c":
        hp.lr, env_steps = 4 * hp.lr, 3 * env_steps
    settings = {"num_workers": 1, "num_envs_per_worker": 16, "rollout": 16} | settings
    train(config(run_dir, algo=algo, hp=hp, mode="serial", env_steps=env_steps, **settings))
    return evaluate_run(run_dir, episodes=64, greedy=greedy, random_baseline=True, checkpoint="latest")


def means(evaluation: Evaluation) -> list[float]:
    return [agent.mean for agent in evaluation.agents.values()]


def presets(*slow: str) -> list[Any]:
    return [
        pytest.param(algo, marks=pytest.mark.slow) if algo in slow else algo
        for algo in ("ippo", "mappo", "appo", "a2c")
    ]


@pytest.mark.parametrize("algo", presets())
@pytest.mark.parametrize("kind", ["discrete", "multi_discrete"])
def test_what_is_seen_is_answered(algo, kind, tmp_path):
    """Best return 7; an answer that does not depend on the context earns 2.3, a random one 1.8 and 1.2."""
    env = {"env": "tests.runs.tiny_tasks:Answer", "env_kwargs": {"kind": kind}}
    found = learned(tmp_path / "run", algo, env_steps=8_000, **env)
    assert min(means(found)) > NEARLY * PAID
    assert means(found.baseline) == pytest.approx([PAID * CHANCE[kind]] * 2, abs=0.8)


@pytest.mark.parametrize("algo", presets("ippo", "mappo", "a2c"))
def test_continuous_answers_come_close(algo, tmp_path):
    """Best return 8, which only the exact points earn; the best constant action earns 4.1, a random one -1.3.

    `a2c` takes many small steps: big ones carry the mean beyond the bounds while the deviation is still wide, where
    actions are clipped and nothing calls it back (6.92 with all three points beyond them).
    """
    env = {"env": "tests.runs.tiny_tasks:Answer", "env_kwargs": {"kind": "continuous"}}
    hp = CONTINUOUS | {"minibatches": 2}
    if algo == "a2c":
        hp |= {"minibatches": 1, "lr": HP["lr"] / 4}
        env["rollout"] = 4
    found = learned(tmp_path / "run", algo, env_steps=14_000, greedy=True, hp=hp, **env)
    assert min(means(found)) > NEARLY * LENGTH
    assert means(found.baseline) == pytest.approx([LENGTH * CHANCE["continuous"]] * 2, abs=0.8)


@pytest.mark.parametrize("algo", presets("ippo", "a2c"))
def test_masks_are_learned_from(algo, tmp_path):
    """Best return 7. Random legal actions earn 3.5, one and the same action 2.8 (and an illegal one raises)."""
    found = learned(tmp_path / "run", algo, env_steps=8_000, env="tests.runs.tiny_tasks:Highest")
    assert min(means(found)) > NEARLY * PAID
    assert means(found.baseline) == pytest.approx([PAID * CHANCE["masked"]] * 2, abs=0.8)


@pytest.mark.parametrize("algo", presets("ippo", "mappo", "a2c"))
def test_what_was_seen_is_remembered(algo, tmp_path):
    """Best return 1. Without memory nobody earns more than 1/2 on average: what is asked for shows only once."""
    settings = {"env": "games/recall", "env_kwargs": {"delay": 2}, "hp": MEMORY}
    found = learned(tmp_path / "run", algo, env_steps=10_000, **settings)
    assert min(means(found)) > NEARLY
    assert means(found.baseline) == pytest.approx([0.5, 0.5], abs=0.2)


@pytest.mark.parametrize("algo", presets("a2c"))
def test_turns_are_learned_from(algo, tmp_path):
    """Best return 3 for each player of one policy; a word that does not depend on the card earns 1.5, as chance does.

    Rewards come out of turn, one of the three actions is illegal, and `mappo` has a critic of the game's state.
    """
    settings = {"policies": {"player_0": "main", "player_1": "main"}, "rollout": 8}
    found = learned(tmp_path / "run", algo, env_steps=6_000, env="tests.runs.tiny_tasks:OpenBetting", **settings)
    assert min(means(found)) > NEARLY * 3
    assert means(found.baseline) == pytest.approx([1.5, 1.5], abs=0.4)


DIFFER = {"env": "sfmarl.envs.games:MatrixGame", "env_kwargs": {"payoff": [[0, 1], [1, 0]], "length": 8}}


@pytest.mark.parametrize("settings", [{}, {"sharing": "none", "hp": {"agent_id": False}}], ids=["agent id", "none"])
def test_agents_alike_learn_to_differ(settings, tmp_path):
    """Both are paid 1 if their actions differ, and always see the same. Best return 8, by acting differently.

    When they break the symmetry is chance: after half of the steps some seeds still hesitate.
    """
    found = learned(tmp_path / "run", "mappo", env_steps=8_000, **DIFFER, **settings)
    assert min(means(found)) > NEARLY * 8


@pytest.mark.parametrize("greedy", [True, False])
def test_without_agent_id_they_cannot_differ(greedy, tmp_path):
    """Of one parameter set both get the same distribution (p, 1 - p): they differ with probability 2p(1 - p) <= 1/2.

    512 drawn actions: a standard error of 0.18 in a return of 4. The most probable actions are the same.
    """
    found = learned(tmp_path / "run", "mappo", env_steps=4_000, greedy=greedy, hp={"agent_id": False}, **DIFFER)
    assert means(found) == [0.0, 0.0] if greedy else max(means(found)) < 4.0 + 3.5 * 0.18


def test_the_tasks_are_worth_what_they_say():
    """Optima, and scores of chance and of one constant action, from many random steps."""
    for kind in CHANCE:
        env = Highest() if kind == "masked" else Answer(kind)
        env.reset(seed=1)
        rng = np.random.default_rng(2)
        space = env.action_space("agent_0")
        space.seed(3)
        fixed = {"discrete": 1, "multi_discrete": (1, 1), "continuous": np.zeros(2), "masked": 4}[kind]
        best, chance, blind = [], [], []
        for _ in range(3000):
            env.look()
            if kind == "masked":
                legal = env.legal["agent_0"]
                best.append(env.worth("agent_0", max(legal)))
                chance.append(env.worth("agent_0", rng.choice(legal)))
                blind.append(env.worth("agent_0", fixed) if fixed in legal else 0.0)
            else:
                context = env.context["agent_0"]
                right = {"discrete": context, "multi_discrete": (context, context % 2), "continuous": POINTS[context]}
                best.append(env.worth("agent_0", right[kind]))
                chance.append(env.worth("agent_0", space.sample()))
                blind.append(env.worth("agent_0", fixed))
        assert np.mean(best) == pytest.approx(1.0)
        assert np.mean(chance) == pytest.approx(CHANCE[kind], abs=0.05)
        assert np.mean(blind) == pytest.approx(BLIND[kind], abs=0.05)
