"""Entries of the infos per episode and team, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv

from sfmarl.config import Config
from sfmarl.envs.infos import EpisodeInfos, InfoMetric, parse_info_metrics
from sfmarl.envs.registry import load_spec, make_vector_env, register_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.evaluator import Evaluator

AGENTS = ("fox_0", "fox_1", "hare_0")


class Telling(ParallelEnv):
    """Answers with ragged infos drawn at random, and keeps them per episode. `fox_1` leaves early."""

    said: list[list[dict]]

    def __init__(self, garbage=None):
        self.possible_agents, self.garbage, self.said = list(AGENTS), garbage, []

    def observation_space(self, agent):
        return spaces.Box(0, 1, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
        self.agents, self.time, self.length = list(AGENTS), 0, int(self.np_random.integers(1, 7))
        self.said.append([])
        return self.look(), {agent: {"win": 99.0} for agent in AGENTS}

    def look(self):
        return {agent: np.zeros(1, np.float32) for agent in self.agents}

    def step(self, actions):
        self.time += 1
        infos = {}
        for agent in self.agents:
            if self.np_random.random() < 0.8:
                infos[agent] = info = {"other": "text"}
                if self.np_random.random() < 0.7:
                    info["food"] = int(self.np_random.integers(0, 5))
                if agent != "hare_0" and self.np_random.random() < 0.7:
                    info["win"] = np.bool_(self.np_random.random() < 0.5)
                if self.np_random.random() < 0.5:
                    info["pain"] = np.array([self.np_random.random()])
        if self.garbage is not None and self.time == 3:
            infos["fox_0"] = {"food": self.garbage}
        self.said[-1].append(infos)
        acted = list(self.agents)
        over = self.time == self.length
        gone = {agent: agent == "fox_1" and self.time == 2 for agent in acted}
        seen = self.look()
        self.agents = [] if over else [agent for agent in acted if not gone[agent]]
        return seen, dict.fromkeys(acted, 0.0), gone, dict.fromkeys(acted, over), infos


BUILT: list[Telling] = []


def telling(garbage=None):
    BUILT.append(Telling(garbage))
    return BUILT[-1]


register_env("test/telling", telling, "tells")


def expected(steps, key, mode, agents):
    """What one team's episode amounts to, said in a plain loop; None when nobody reported."""
    values = {
        agent: [float(np.asarray(s[agent][key]).item()) for s in steps if key in s.get(agent, {})] for agent in agents
    }
    told = [numbers for numbers in values.values() if numbers]
    if not told:
        return None
    if mode == "last":
        return sum(numbers[-1] for numbers in told) / len(told)
    total, count = sum(map(sum, told)), sum(map(len, told))
    return total if mode == "sum" else total / count


def play(env, steps):
    """Return key -> [(env, episode, values per team)] of finished episodes."""
    rows, outcome = new_obs_rows(env.spec, env.num_envs), new_outcome_rows(env.spec, env.num_envs)
    env.reset(range(env.num_envs), rows)
    episode, found = [0] * env.num_envs, []
    actions = [np.zeros((env.num_envs, len(team.agents)), np.int32) for team in env.spec.teams]
    for _ in range(steps):
        ended = np.flatnonzero(env.step(actions, np.ones(env.num_envs, bool), rows, outcome))
        if ended.size:
            taken = env.infos.take(ended)
            for i, e in enumerate(ended.tolist()):
                found.append((e, episode[e], {key: values[i] for key, values in taken.items()}))
                episode[e] += 1
            env.reset(ended.tolist(), rows)
    return found


def test_infos_are_aggregated_per_episode_and_team():
    config = Config("test/telling", info_metrics=("win", "food:sum", "pain:mean"))
    BUILT.clear()
    env = make_vector_env(config, 3, [1, 2, 3])
    copies = BUILT[-3:]
    for copy in copies:
        copy.said.clear()
    finished = play(env, 120)
    assert len(finished) > 50
    teams = {"fox": AGENTS[:2], "hare": AGENTS[2:]}
    assert [team.name for team in env.spec.teams] == list(teams)
    missing = 0
    for e, episode, taken in finished:
        for key, mode in (("win", "last"), ("food", "sum"), ("pain", "mean")):
            for column, agents in enumerate(teams.values()):
                want = expected(copies[e].said[episode], key, mode, agents)
                if want is None:
                    assert np.isnan(taken[key][column])
                    missing += 1
                else:
                    assert taken[key][column] == pytest.approx(want)
    assert missing > 50, "hares never win, and short episodes say nothing"


def test_nobody_looks_at_infos_that_were_not_asked_for():
    assert make_vector_env(Config("test/telling"), 1, [1]).infos is None


@pytest.mark.parametrize("garbage", ["much", [1, 2], None.__class__, {}])
def test_what_is_no_number_is_named_once(garbage):
    register_env("test/garbage", lambda: Telling(garbage), "tells nonsense")
    env = make_vector_env(Config("test/garbage", info_metrics=("food:sum",)), 1, [4])
    with pytest.raises(RunError, match=r"test/garbage, copy 0 .* step 3: agent 'fox_0': its info 'food' is no number"):
        play(env, 60)


def test_native_environments_have_no_infos():
    with pytest.raises(UsageError, match="native vector environment, which has no infos"):
        load_spec(Config("native/simple_spread", info_metrics=("win",)))


@pytest.mark.parametrize(
    ("words", "metrics"),
    [
        ((), ()),
        (("win",), (InfoMetric("win", "last"),)),
        (("a:b", "food:sum"), None),
        (("a:b:last", "food:mean"), (InfoMetric("a:b", "last"), InfoMetric("food", "mean"))),
        (("win", "win:sum"), None),
        ((":sum",), None),
        (("",), None),
    ],
)
def test_settings(words, metrics):
    if metrics is None:
        with pytest.raises(UsageError, match="info_metrics"):
            parse_info_metrics(words)
    else:
        assert parse_info_metrics(words) == metrics


def test_evaluations_report_them():
    config = Config("test/telling", info_metrics=("win:mean", "food:sum"))
    spec = load_spec(config)
    evaluator = Evaluator(config, {t.name: ScriptedPlayer("random", t, 1) for t in spec.teams}, 40, seed=3)
    while evaluator.run_once():
        pass
    evaluation = evaluator.result()
    evaluator.close()
    assert set(evaluation.infos) == {"win/fox", "food/fox", "food/hare"}
    assert 0 < evaluation.infos["win/fox"].mean < 1 and evaluation.infos["food/fox"].count <= 40
    assert evaluation.scalars()["eval/info/food/hare"] == evaluation.infos["food/hare"].mean
    assert evaluation.to_json()["infos"]["food/hare"]["count"] == evaluation.infos["food/hare"].count
    assert "info food/fox" in str(evaluation)


def test_an_episode_starts_with_nothing():
    infos = EpisodeInfos(parse_info_metrics(["food:sum", "win"]), load_spec(Config("test/telling")), 2)
    infos.note(0, {"fox_0": {"food": 2, "win": 1}, "stranger": {"food": 7}}, str)
    infos.note(1, {"fox_0": {"food": 30}}, str)
    assert infos.take([0])["food"].tolist()[0][0] == 2
    infos.note(0, {"fox_1": {"food": 5}}, str)
    taken = infos.take([1, 0])
    assert taken["food"][:, 0].tolist() == [30, 5]
    assert np.isnan(taken["win"]).all()
