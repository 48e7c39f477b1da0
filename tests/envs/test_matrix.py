"""Repeated matrix games: every row they write, against PettingZoo's rock-paper-scissors and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfmarl.config import Config
from sfmarl.envs.check import check_env
from sfmarl.envs.registry import is_native, load_spec, make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.envs.vector import Reporting
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.evaluate import evaluate

ARGUMENTS = {
    "native/rock_paper_scissors": {},
    "native/prisoners_dilemma": {"length": 7},
    "native/matching_pennies": {"ends": "terminated"},
    "native/circle": {"strategies": 8},
    "native/matrix_game": {"payoff": [[[1, 2, 3], [4, 5, 6]], [[0, 1, 0], [1, 0, 1]]], "observe_last": True},
}
"""Every registered game -> keyword arguments."""


def vector_env(name, num_envs, info_metrics=(), **kwargs):
    return make_vector_env(Config(name, env_kwargs=kwargs, info_metrics=info_metrics), num_envs, range(num_envs))


def play_out(env, rng):
    """Play one episode in every copy at random; yield (actions [2, E], rows, outcome, ended) of each round."""
    every = np.ones(env.num_envs, bool)
    rows, outcome = new_obs_rows(env.spec, env.num_envs), new_outcome_rows(env.spec, env.num_envs)
    env.reset(range(env.num_envs), rows)
    ended = ~every
    while not ended.all():
        actions = [random_actions(team.action, (env.num_envs, 1), rng) for team in env.spec.teams]
        ended = env.step(actions, every, rows, outcome)
        yield np.stack(actions)[..., 0], rows, outcome, ended


@pytest.mark.parametrize("num_actions", [3, 5, 7])
def test_it_is_pettingzoos_rock_paper_scissors(num_actions):
    """Hundreds of episodes of 15 games, move for move: rewards, ends, and the opponent's last action."""
    rps = pytest.importorskip("pettingzoo.classic.rps_v2")
    kwargs = {"num_actions": num_actions}
    env = vector_env("native/rock_paper_scissors", 100, observe_last=True, **kwargs)
    original = rps.parallel_env(max_cycles=15, **kwargs)
    played = []
    for actions, rows, outcome, ended in play_out(env, np.random.default_rng(0)):
        played.append((actions, [r.obs.copy() for r in rows], [paid.reward.copy() for paid in outcome], ended))
    assert len(played) == 15
    for copy in range(env.num_envs):
        original.reset(seed=copy)
        for actions, obs, rewards, ended in played:
            names = dict(zip(original.possible_agents, actions[:, copy].tolist(), strict=True))
            seen, paid, terminated, truncated, _ = original.step(names)
            for seat, agent in enumerate(original.possible_agents):
                assert rewards[seat][copy, 0] == paid[agent]
                own, other = np.split(obs[seat][copy, 0], 2)
                assert np.flatnonzero(other).tolist() == [int(seen[agent])]
                assert np.flatnonzero(own).tolist() == [actions[seat, copy]]
                assert truncated[agent] == ended[copy] and not terminated[agent]
    assert original.agents == []


@settings(max_examples=25)
@given(st.data())
def test_random_games_pay_what_is_written(data):
    """Any payoffs, lengths, ends and pauses, with a plain loop that keeps the score."""
    rows_, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    payoff = data.draw(arrays(np.float32, (2, rows_, columns), elements=st.floats(-100, 100, width=32))).tolist()
    length, observe = data.draw(st.integers(1, 5)), data.draw(st.booleans())
    ends = data.draw(st.sampled_from(["truncated", "terminated"]))
    env = vector_env("native/matrix_game", 3, payoff=payoff, length=length, observe_last=observe, ends=ends)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows, outcome = new_obs_rows(env.spec, 3), new_outcome_rows(env.spec, 3)
    env.reset([0, 1, 2], rows)
    plays = [[], [], []]
    for row in rows:
        assert row.active.all() and row.is_first.all() and row.action_mask is None and row.state is None
        assert (row.obs == (0.0 if observe else 1.0)).all()
    for _ in range(12):
        running = rng.random(3) < 0.7
        if not running.any():
            continue
        actions = [random_actions(team.action, (3, 1), rng) for team in env.spec.teams]
        for row, paid in zip(rows, outcome, strict=True):
            row.obs[~running] = paid.reward[~running] = 7
        ended = env.step(actions, running, rows, outcome)
        for e in range(3):
            if not running[e]:
                assert not ended[e] and all((row.obs[e] == 7).all() for row in rows)
                assert all(paid.reward[e, 0] == 7 for paid in outcome)
                continue
            move = int(actions[0][e, 0]), int(actions[1][e, 0])
            plays[e].append(move)
            over = len(plays[e]) == length
            assert ended[e] == over
            for seat, (row, paid) in enumerate(zip(rows, outcome, strict=True)):
                assert paid.reward[e, 0] == np.float32(payoff[seat][move[0]][move[1]])
                assert paid.truncated[e, 0] == (over and ends == "truncated")
                assert paid.terminated[e, 0] == (over and ends == "terminated")
                assert row.active[e, 0] == (not over) and not row.is_first[e, 0]
                sizes, own = ((rows_, columns), move) if seat == 0 else ((columns, rows_), move[::-1])
                seen = [float(i == chosen) for n, chosen in zip(sizes, own, strict=True) for i in range(n)]
                assert row.obs[e, 0].tolist() == (seen if observe else [1.0])
        for e in np.flatnonzero(ended).tolist():
            sums = [sum(payoff[seat][i][j] for i, j in plays[e]) for seat in range(2)]
            np.testing.assert_allclose(env.returns[:, e], sums, atol=1e-9)
            plays[e] = []
            env.reset([e], rows)
            assert env.returns[:, e].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_they_are_native_environments_that_pass_the_check(name):
    config = Config(name, env_kwargs=ARGUMENTS[name])
    report = check_env(config, max_seconds=0.2, max_episodes=50)
    assert report.ok and not report.warnings
    assert is_native(name)
    spec = load_spec(config)
    assert [(team.name, team.agents) for team in spec.teams] == [(p, (p,)) for p in ("player_0", "player_1")]
    assert spec.env == name and not spec.turn_based
    assert isinstance(make_vector_env(config, 1, [0]), Reporting)


def test_an_episode_of_a_zero_sum_game_has_an_outcome():
    """The sign of the return of a match of 15 rounds, also as an info; draws come from sums that cancel out."""
    env = vector_env("native/rock_paper_scissors", 2000, info_metrics=("outcome", "rock:mean"))
    rng, totals, rocks = np.random.default_rng(3), np.zeros((2000, 2)), np.zeros((2000, 2))
    for actions, _, outcome, _ in play_out(env, rng):
        totals += np.concatenate([paid.reward for paid in outcome], axis=1)
        rocks += (actions == 0).T
    assert (env.outcomes(np.arange(2000)) == np.sign(totals)).all()
    taken = env.infos.take(np.arange(2000))
    np.testing.assert_array_equal(taken["outcome"], np.sign(totals))
    np.testing.assert_allclose(taken["rock"], rocks / 15)
    assert set(np.sign(totals[:, 0])) == {-1, 0, 1}


def test_rounding_is_no_victory():
    env = vector_env("native/matrix_game", 1, payoff=[[0.1, 0.2], [-0.3, 0.0]], kind="zero_sum", length=3)
    rows, outcome = new_obs_rows(env.spec, 1), new_outcome_rows(env.spec, 1)
    env.reset([0], rows)
    for first, second in ((0, 0), (0, 1), (1, 0)):
        env.step([np.array([[first]]), np.array([[second]])], np.ones(1, bool), rows, outcome)
    assert env.returns[0, 0] != 0.0
    assert env.outcomes(np.array([0])).tolist() == [[0, 0]]


def test_infos_of_paused_copies_do_not_move():
    env = vector_env("native/prisoners_dilemma", 2, info_metrics=("cooperate:mean", "defect:sum"), length=2)
    rows, outcome = new_obs_rows(env.spec, 2), new_outcome_rows(env.spec, 2)
    env.reset([0, 1], rows)
    cooperate, defect = np.zeros((2, 1), np.int32), np.ones((2, 1), np.int32)
    env.step([cooperate, defect], np.array([True, True]), rows, outcome)
    env.step([defect, defect], np.array([True, False]), rows, outcome)
    taken = env.infos.take([0])
    assert taken["cooperate"].tolist() == [[0.5, 0.0]]
    assert taken["defect"].tolist() == [[1.0, 2.0]]
    env.step([cooperate, cooperate], np.array([False, True]), rows, outcome)
    assert env.infos.take([1])["cooperate"].tolist() == [[1.0, 0.5]]


def test_evaluations_report_what_was_chosen():
    config = Config("native/prisoners_dilemma", info_metrics=("cooperate:mean",))
    first, second = load_spec(config).teams
    players = {first.name: ScriptedPlayer(f"{__name__}:tit_for_tat", first, 0)}
    players[second.name] = ScriptedPlayer("random", second, 0)
    found = evaluate(config, players, 40, seed=1)
    infos = found.infos["cooperate/player_0"], found.infos["cooperate/player_1"]
    assert infos[0].mean == pytest.approx(infos[1].mean, abs=0.011)
    assert infos[1].mean == pytest.approx(0.5, abs=0.05)


def tit_for_tat(obs, action_mask, team, rng):
    """Do what the other did in the round before; cooperate in the first. `obs` [B, 1, 4]."""
    return obs[..., 3].astype(np.int32)


def test_a_person_can_read_what_was_played_and_paid():
    env = vector_env("native/prisoners_dilemma", 2, length=3)
    rows, outcome = new_obs_rows(env.spec, 2), new_outcome_rows(env.spec, 2)
    env.reset([0, 1], rows)
    for first, second in ((0, 0), (0, 1)):
        env.step([np.full((2, 1), first), np.full((2, 1), second)], np.array([False, True]), rows, outcome)
    assert env.text(1).splitlines() == [
        "round  player_0   player_1   paid",
        "    1  cooperate  cooperate     3  3",
        "    2  cooperate  defect        0  5",
        "  sum                           3  8",
    ]
    assert len(env.text(0).splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("matching_pennies", {"length": 0}, "needs length >= 1, got 0"),
        ("matching_pennies", {"length": 2.5}, "needs length >= 1, got 2.5"),
        ("matching_pennies", {"observe_last": 1}, "needs observe_last = true or false, got 1"),
        ("matching_pennies", {"ends": "never"}, "needs ends = truncated or terminated, got 'never'"),
        ("matching_pennies", {"num_actions": 3}, "takes no keyword argument 'num_actions'"),
        ("circle", {"strategies": 1}, "strategies >= 3"),
        ("prisoners_dilemma", {"reward": 9}, "T > R > P > S"),
        ("matrix_game", {}, "payoff"),
        ("matrix_game", {"payoff": [[1]], "kind": "common", "action_names": ["outcome"]}, "no action can be called"),
    ],
)
def test_impossible_games_are_refused(name, kwargs, words):
    with pytest.raises(UsageError, match=words):
        load_spec(Config(f"native/{name}", env_kwargs=kwargs))


@pytest.mark.parametrize(
    ("name", "metric", "words"),
    [
        ("prisoners_dilemma", "coperate:mean", "no info 'coperate'. Did you mean 'cooperate'"),
        ("prisoners_dilemma", "outcome", "It has cooperate, defect."),
    ],
)
def test_infos_that_there_are_not_are_refused(name, metric, words):
    with pytest.raises(UsageError, match=words):
        load_spec(Config(f"native/{name}", info_metrics=(metric,)))


def test_a_picture_frames_what_was_played_and_says_what_it_pays():
    """Blue is the highest payoff, red the lowest; below the diagonal player 0's, above it player 1's."""
    env = vector_env("native/prisoners_dilemma", 1, length=3, render_mode="rgb_array")
    rows, outcome = new_obs_rows(env.spec, 1), new_outcome_rows(env.spec, 1)
    env.reset([0], rows)
    before = env.render(0)
    env.step([np.full((1, 1), 1), np.full((1, 1), 0)], np.array([True]), rows, outcome)
    after = env.render(0)
    assert after.dtype == np.uint8 and after.shape == before.shape and after.shape[2] == 3
    side = after.shape[1] // 2
    lower, upper = after[side + side * 3 // 4, side // 4], after[side + side // 4, side * 3 // 4]
    assert lower.argmax() == 2 and upper.argmax() == 0, "who defects on a cooperator earns most, the other least"
    changed = (before != after).any(2)
    board = changed[: 2 * side]
    assert board[side:, :side].any() and not board[:side].any() and not board[:, side:].any()
    moved = changed[2 * side :]
    assert moved.any(1).sum() == 40 and not moved[:, side:].any(), "both strips, in the first of three rounds"


def test_text_is_drawn_if_asked_and_nothing_without():
    env = vector_env("native/matching_pennies", 1, render_mode="ansi")
    env.reset([0], new_obs_rows(env.spec, 1))
    assert env.render(0) == env.text(0) and "player_0" in env.text(0)
    with pytest.raises(RunError, match="without a render_mode"):
        vector_env("native/matching_pennies", 1).render(0)
    with pytest.raises(UsageError, match="ansi or rgb_array, not 'human'"):
        vector_env("native/matching_pennies", 1, render_mode="human")
