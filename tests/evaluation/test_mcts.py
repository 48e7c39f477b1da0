"""OpenSpiel's games are ours, move for move."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sfmarl.config import Config
from sfmarl.envs.board.twins import native_twin
from sfmarl.envs.registry import make_envs
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation import mcts
from sfmarl.evaluation.mcts import GAMES, GameRules, OpenSpielGame

CHOICES = {"native/connect_four": 7, "native/tic_tac_toe": 9}


def rules_of(env: str) -> GameRules:
    pytest.importorskip("pyspiel", reason="pip install 'sfmarl[openspiel]'")
    return GameRules(env, CHOICES[env])


@pytest.mark.parametrize("env", GAMES)
def test_random_games_are_the_same_games(env):
    rules = rules_of(env)
    copies = 300
    games, rng = make_envs(Config(env), copies, range(copies)), np.random.default_rng(5)
    games.reset(np.arange(copies))
    moves: list[list[int]] = [[] for _ in range(copies)]
    returns, over = np.zeros((copies, 2)), np.zeros(copies, bool)
    ends = set()
    while not over.all():
        for seat in (0, 1):
            envs = np.flatnonzero(~over & (games.seat == seat))
            if not len(envs):
                continue
            obs = np.zeros((len(envs), *games.spec.teams[0].obs.shape), np.int8)
            legal = np.zeros((len(envs), CHOICES[env]), bool)
            games.observe(seat, envs, obs, legal, None)
            for e, row in zip(envs.tolist(), legal, strict=True):
                state = rules.after(moves[e])
                assert not state.is_terminal() and state.current_player() == seat
                np.testing.assert_array_equal(rules.legal(state), row)
            chosen = np.array([rng.choice(np.flatnonzero(row)) for row in legal])
            outcome = games.act(envs, chosen)
            returns[envs] += outcome.reward
            over[envs] = outcome.terminated
            for e, move in zip(envs.tolist(), chosen.tolist(), strict=True):
                moves[e].append(move)
            for e in envs[outcome.terminated].tolist():
                state = rules.after(moves[e])
                assert state.is_terminal()
                assert state.returns() == returns[e].tolist()
                drawn = [[".xo".index(cell) for cell in line] for line in str(state).split()]
                assert drawn == games.board(e).tolist()
                ends.add(tuple(state.returns()))
    assert {(1.0, -1.0), (-1.0, 1.0)} <= ends
    assert env != "native/tic_tac_toe" or (0.0, 0.0) in ends


def test_pettingzoos_games_go_by_their_twins():
    for name in ("pettingzoo.classic.connect_four_v3", "classic/connect_four-v3", "classic/connect_four_v3",
                 "pettingzoo.classic.connect_four_v3:env"):  # fmt: skip
        assert native_twin(name) == "native/connect_four"
    assert native_twin("classic/tictactoe-v3") == "native/tic_tac_toe"
    for name in ("classic/connect_four-v2", "classic/chess-v6", "native/connect_four", "mine.connect_four_v3"):
        assert native_twin(name) == name
    assert set(GAMES) <= {native_twin(name) for name in GAMES}


def test_more_simulations_find_the_win_and_the_block():
    choose = rules_of("native/connect_four").search(400, seed=1)
    assert choose([3, 0, 3, 0, 3, 1], 0, None) == 3, "four in the column"
    assert choose([3, 0, 3, 0, 3], 1, None) == 3, "or the other one wins there"
    squares = rules_of("native/tic_tac_toe").search(400, seed=1)
    # a1 b1 a2 b2: a column is open to either, in squares that are numbered down the columns
    assert squares([0, 3, 1, 4], 0, None) == 2
    assert squares([0, 3, 8, 4], 0, None) == 5


def test_equal_seeds_search_alike():
    for seed in (1, 2):
        one, two = (rules_of("native/connect_four").search(20, seed) for _ in range(2))
        assert [one([], 0, None) for _ in range(10)] == [two([], 0, None) for _ in range(10)]


def test_a_game_that_is_another_one_is_noticed(monkeypatch):
    rules = rules_of("native/connect_four")
    choose = rules.search(10, seed=0)
    with pytest.raises(RunError, match="not the turn of seat 0"):
        choose([3], 0, None)
    with pytest.raises(RunError, match="other moves are legal"):
        choose([3], 1, np.arange(7) != 2)
    with pytest.raises(RunError, match="move 3 is not legal"):
        choose([3] * 7, 1, None)
    monkeypatch.setitem(mcts.GAMES, "native/connect_four", OpenSpielGame("connect_four", lambda column: 6 - column))
    mirrored = GameRules("native/connect_four", 7).search(10, seed=0)
    with pytest.raises(RunError, match=r"is not OpenSpiel's connect_four.*mcts.GAMES"):
        mirrored([3, 0, 0, 0, 0, 0, 0], 1, np.arange(7) != 6)


def test_unknown_games_and_a_missing_package_are_named(monkeypatch):
    with pytest.raises(UsageError, match="cannot play native/rock_paper_scissors"):
        GameRules("native/rock_paper_scissors", 3)
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(UsageError, match=r"pip install 'sfmarl\[openspiel\]'"):
        GameRules("native/connect_four", 7)
