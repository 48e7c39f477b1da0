"""Every fault that `sfmarl check-env` knows, in an environment that has no other; and sound ones, which have none."""

from __future__ import annotations

import inspect
import json
import re
import warnings

import faulty_envs
import faulty_games
import pytest

from sfmarl.command.cli import main
from sfmarl.config import Config
from sfmarl.envs.check import check_env
from sfmarl.envs.checks.guarded import run_guarded
from sfmarl.errors import UsageError


def named(name: str) -> str:
    return f"{'faulty_games' if hasattr(faulty_games, name) and name != 'Sound' else 'faulty_envs'}:{name}"


def checked(name: str, seconds: float = 3.0, **settings):
    return check_env(Config(named(name), **settings), max_seconds=seconds, max_episodes=12)


SOUND = ["Sound", "SoundMasked", "SoundBox", "SoundTurns", "SoundSingle"]


@pytest.mark.parametrize("env", [*map(named, SOUND), "mpe2.simple_spread_v3", "CartPole-v1", "games/recall"])
def test_sound_environments_pass_without_a_warning(env):
    found = check_env(Config(env), max_seconds=3.0, max_episodes=12)
    assert (found.warnings, found.problems) == ([], [])
    said = "\n".join(found.facts)
    assert "interface: nothing to object to" in said
    assert "passed (" in said


@pytest.mark.parametrize("env", ["pettingzoo.classic.tictactoe_v3", "pettingzoo.classic.rps_v2"])
def test_sound_games_pass_without_a_warning(env):
    found = check_env(Config(env, teams="each"), max_seconds=3.0, max_episodes=12)
    assert (found.warnings, found.problems) == ([], [])


WARNED = {
    "Unflagged": "agent 'x_1' acted and is missing from the terminations .*: it counts as not flagged there",
    "Float64": "observations are float64, declared float32: converted",
    "OutOfBounds": r"observation outside its declared space \(episode 1, step 4\): [45]\..* at 2, declared -1 to 1",
    "Unseeded": "equal seeds and actions give different episodes, from step 1 on",
    "PythonGlobal": r"(reset|step)\(\) draws from Python's global random module",
    "NumpyGlobal": r"(reset|step)\(\) draws from the global generator np.random",
    "TurnsGlobal": r"(reset|step)\(\) draws from the global generator np.random",
    "OddMask": "its action mask holds 2 .*whatever is not zero counts as legal",
    "Reuses": "is overwritten by the next step",
    "Shares": "is overwritten by another copy of the environment",
    "Vanishes": "'x_1' left `agents` without being terminated or truncated",
    "Unpaid": "'x_0' acted and is missing from the rewards .*given 0",
    "CutBlind": "truncated without a last observation",
    "Endless": "no episode ended in .* steps; returns are unknown",
    "NewSpaces": "parallel_api_test fails .*exact same space object.* Here training works anyway: spaces are asked for",
    "NoOptions": r"parallel_api_test fails in reset\(options=...\).*options are never passed",
    "TurnsOutOfBounds": "observation outside its declared space",
    "TurnsClocked": "seed_test fails .*Incorrect info.*infos are read only for action masks",
    "TurnsForget": "not all agents finished.*a step whose end an agent is never told is not learned from",
    "SingleSeedsAlone": "gymnasium's check_env fails .*super.*equal seeds gave the trainer equal episodes",
}

BESIDE = {
    # what PettingZoo's and gymnasium's own tests, and the comparison of seeds, make of the same fault
    "OutOfBounds": "check_env|api_test",
    "TurnsOutOfBounds": "Out of bounds observation",
    "PythonGlobal": "seeding",
    "NumpyGlobal": "seeding",
    "TurnsGlobal": "seeding",
    "Unflagged": "api_test",
    "Vanishes": "api_test",
    "CutBlind": "api_test",
    "OddMask": "api_test fails .*sample mask.*whatever is not zero",
    "Shares": "overwritten by the next step",
}


@pytest.mark.parametrize("name", WARNED)
def test_a_fault_that_training_survives_is_a_warning(name):
    found = checked(name, 0.6 if name == "Endless" else 3.0)
    assert found.ok
    hits = [warning for warning in found.warnings if re.search(WARNED[name], warning)]
    assert hits, found.warnings
    others = [warning for warning in found.warnings if warning not in hits]
    assert all(name in BESIDE and re.search(BESIDE[name], other) for other in others), others


REFUSED = {
    "WrongShapeLater": r"expected shape \(3,\), got \(4,\) \(episode 4, step 5\)",
    "EmptyMaskLater": "action mask of agent 'x_0' leaves no legal action",
    "ShortMaskLater": r"expected an action mask of 4 entries, got shape \(3,\)",
    "RefusesLegal": "there is a wall. It was sent {.*3.*}, which its action masks allow",
    "RefusesBounds": "the motor is blocked. It was sent .*which its action spaces hold",
    "GrowingState": r"state\(\) changes its shape from \(2,\) to \(3,\)",
    "InfiniteState": r"state\(\) is not finite \(episode 1, step 3\)",
    "InfiniteReward": "agent 'x_1': reward: expected a finite number, got inf",
    "FourAnswers": "episode 1, step 30: not what PettingZoo asks for: .*not enough values",
    "Stranger": "agent 'y_0' is not in possible_agents",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_that_ends_a_run_is_a_problem(name):
    found = checked(name)
    assert not found.ok
    assert any(re.search(REFUSED[name], problem) for problem in found.problems), found.problems


def test_an_environment_that_cannot_be_closed_is_refused():
    with pytest.raises(UsageError, match=r"DoesNotClose failed in close\(\): OSError\('the window is gone'\)"):
        checked("DoesNotClose")


def test_slow_environments_are_stepped_no_longer_than_they_may(monkeypatch):
    monkeypatch.setattr(faulty_envs.Slow, "steps", 0)
    assert checked("Slow", 0.5).ok
    # probing takes 24 steps, 0.5 s hold 25, seeding plays twice again; parallel_api_test alone would take 200
    assert 24 < faulty_envs.Slow.steps < 100


def test_somebody_elses_test_is_stopped_in_time_and_says_nothing(capsys):
    env = faulty_envs.Chatty()

    def test():
        warnings.warn("boo", stacklevel=1)
        env.reset(seed=0)
        while True:
            env.step(dict.fromkeys(faulty_envs.AGENTS, 0))
            if not env.agents:
                env.reset()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        verdict = run_guarded(test, [env], 0.05)
    assert not verdict.in_time and verdict.steps > 0 and verdict.says == ""
    assert verdict.remarks == ("boo",)
    assert capsys.readouterr() == ("", "") and caught == []


def test_somebody_elses_test_sees_the_signatures_of_the_environment():
    env, seen = faulty_envs.NoOptions(), []
    run_guarded(lambda: seen.append(inspect.signature(env.reset)), [env], 1.0)
    assert list(seen[0].parameters) == ["seed"]


def test_bare_assertions_are_told_by_their_source():
    def test():
        assert isinstance(3, dict)

    verdict = run_guarded(test, [], 1.0)
    assert verdict.asserted and "isinstance(3, dict)" in verdict.says


def test_returns_and_speed_are_figures_in_json(capsys):
    assert main(["check-env", "faulty_envs:Chatty", "--seconds", "1", "--json", "--frame-stack", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and told["problems"] == []
    assert told["teams"][0]["observation"] == {"shape": [6], "dtype": "float32"}
    team = told["random_policy"]["teams"]["x"]
    assert set(team["agents"]) == {"x_0", "x_1"}
    assert told["random_policy"]["length"]["mean"] == faulty_envs.LENGTH
    # actions 0 to 3, one of four each: mean 1.5, variance 1.25 a step, agent and step independent of each other
    assert team["return"]["mean"] == pytest.approx(2 * faulty_envs.LENGTH * 1.5, abs=3.0)
    assert team["return"]["sd"] == pytest.approx((2 * faulty_envs.LENGTH * 1.25) ** 0.5, rel=0.4)
    speed = told["speed"]
    assert speed["agent_steps_per_second"] == pytest.approx(2 * speed["env_steps_per_second"])
    assert 0 < speed["environment_share"] < 1
    assert main(["check-env", "faulty_envs:InfiniteReward", "--seconds", "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_the_share_of_the_environment_is_not_guessed_where_there_are_convolutions():
    found = check_env(Config("space_envs:Seeing"), max_seconds=0.5)
    assert found.data["speed"]["environment_share"] is None
    assert any("depends on the convolutions" in fact for fact in found.facts)


def test_policies_are_told_and_have_to_fit():
    found = checked("SoundTurns", 0.5, policies={"x_0": "main", "x_1": "main"})
    assert "team 'x_1': played by policy 'main'" in found.facts
    with pytest.raises(UsageError, match="'x_7', but the teams of faulty_games:SoundTurns are x_0, x_1"):
        checked("SoundTurns", 0.5, policies={"x_7": "main"})
    assert main(["check-env", "faulty_envs:Sound", "--seconds", "0"]) == 2
