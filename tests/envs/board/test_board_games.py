"""Native board games are PettingZoo's move for move, find every line, and can be looked at."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfmarl.config import Config
from sfmarl.envs.board import connect_four, tic_tac_toe
from sfmarl.envs.board.connect_four import ConnectFour
from sfmarl.envs.board.drawing import TILE
from sfmarl.envs.board.tic_tac_toe import TicTacToe
from sfmarl.envs.registry import is_native, load_spec, make_envs, make_turn_envs, make_vector_env
from sfmarl.envs.rows import random_actions
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.errors import RunError, UsageError

GAMES = {"connect_four": (ConnectFour, "connect_four_v3"), "tic_tac_toe": (TicTacToe, "tictactoe_v3")}


def raw_games(module, count):
    """PettingZoo's games without its wrappers, which are slow."""
    pytest.importorskip("pygame")
    build = importlib.import_module(f"pettingzoo.classic.{module}").raw_env
    return [build() for _ in range(count)]


def seen_by(game, seat, envs):
    """Return (obs, mask) of `seat` in each of `envs`."""
    team = game.spec.teams[seat]
    obs = np.full((len(envs), *team.obs.shape), 77, team.obs.dtype)
    mask = np.zeros((len(envs), team.action.mask_size), bool)
    game.observe(seat, envs, obs, mask, None)
    return obs, mask


@pytest.mark.parametrize(
    ("name", "copies", "episodes"),
    [
        ("connect_four", 60, 1),
        ("tic_tac_toe", 100, 4),
        pytest.param("connect_four", 300, 10, marks=pytest.mark.slow),
        pytest.param("tic_tac_toe", 500, 20, marks=pytest.mark.slow),
    ],
)
def test_every_move_is_pettingzoos(name, copies, episodes):
    """Whose turn, observations, masks, rewards, endings, over copies x episodes random games of different lengths."""
    build, module = GAMES[name]
    game, others = build(copies, range(copies)), raw_games(module, copies)
    rng = np.random.default_rng(copies)
    left = np.full(copies, episodes)
    results = []

    def begin(envs):
        game.reset(envs)
        for e in envs.tolist():
            others[e].reset()

    begin(np.arange(copies))
    while (envs := np.flatnonzero(left)).size:
        actions = np.zeros(copies, np.int32)
        for seat in range(2):
            movers = envs[game.seat[envs] == seat]
            obs, mask = seen_by(game, seat, movers)
            actions[movers] = random_actions(game.spec.teams[seat].action, (len(movers),), rng, mask)
            for row, e in enumerate(movers.tolist()):
                agent = others[e].agent_selection
                assert others[e].possible_agents[seat] == agent
                expected = others[e].observe(agent)
                assert obs[row].tobytes() == expected["observation"].tobytes()
                assert mask[row].tobytes() == expected["action_mask"].tobytes()
        reward, terminated, truncated = game.act(envs, actions[envs])
        assert not truncated.any()
        for row, e in enumerate(envs.tolist()):
            others[e].step(actions[e])
            assert tuple(reward[row]) == tuple(others[e].rewards.values())
            assert [terminated[row]] * 2 == list(others[e].terminations.values())
        ended = envs[terminated]
        results += reward[terminated, 0].tolist()
        left[ended] -= 1
        begin(ended[left[ended] > 0])
    assert len(results) == copies * episodes
    assert {-1.0, 1.0} <= set(results) and (name == "connect_four" or 0.0 in results)


@pytest.mark.parametrize("name", GAMES)
def test_a_policy_fits_both(name):
    """Teams are those that the adapter makes of PettingZoo's game."""
    pytest.importorskip("pygame")
    ours, theirs = (load_spec(Config(n)) for n in (f"native/{name}", f"pettingzoo.classic.{GAMES[name][1]}"))
    assert ours == replace(theirs, env=ours.env)


@pytest.mark.parametrize("name", GAMES)
def test_a_single_copy_takes_the_turns_of_the_adapter(name):
    """Rewards, endings and passed turns of whole games, from the same moves."""
    pytest.importorskip("pygame")
    (ours,) = make_turn_envs(Config(f"native/{name}"), 1)
    (theirs,) = make_turn_envs(Config(f"pettingzoo.classic.{GAMES[name][1]}"), 1)
    rng = np.random.default_rng(0)
    team = ours.spec.teams[0]
    rows = [(np.zeros(team.obs.shape, np.int8), np.zeros(team.action.mask_size, bool)) for _ in range(2)]
    for seed in (5, None, None):
        ours.reset(seed)
        theirs.reset(seed)
        passed = []
        while (turn := ours.turn()) is not None:
            if turn.terminated:
                passed.append((turn, theirs.turn()))
                ours.act(None)
                theirs.act(None)
                continue
            assert turn == theirs.turn()
            for env, row in zip((ours, theirs), rows, strict=True):
                env.observe(*row, None)
            assert all((a == b).all() for a, b in zip(*rows, strict=True))
            action = random_actions(team.action, (1,), rng, rows[0][1][None])[0]
            ours.act(action)
            theirs.act(action)
        assert theirs.turn() is None
        assert sorted(a for a, _ in passed) == sorted(b for _, b in passed)
    assert ours.generator_state() is None


def naive_line(cells, length):
    """Whether True cells [rows, columns] hold `length` in a line, by looking everywhere."""
    rows, columns = cells.shape
    for r in range(rows):
        for c in range(columns):
            for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
                line = [(r + i * dr, c + i * dc) for i in range(length)]
                if all(0 <= y < rows and 0 <= x < columns and cells[y, x] for y, x in line):
                    return True
    return False


def bits_of(name, cells):
    """Return the bit set of True cells."""
    if name == "tic_tac_toe":
        return sum(1 << i for i in np.flatnonzero(cells.ravel()).tolist())
    return sum(1 << (c * 7 + 5 - r) for r, c in np.argwhere(cells).tolist())


@pytest.mark.parametrize("name", GAMES)
@given(data=st.data())
@settings(max_examples=30)
def test_lines_are_found_where_there_are_any(name, data):
    """Any set of stones, also such as no game leads to; many at a time."""
    build, _ = GAMES[name]
    game, (rows, columns) = build(1, [0]), build.shape
    boards = data.draw(st.lists(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns), min_size=1))
    cells = np.array(boards).reshape(-1, rows, columns)
    found = game.lines(np.array([bits_of(name, board) for board in cells], np.uint64))
    assert found.tolist() == [naive_line(board, 4 if name == "connect_four" else 3) for board in cells]


def test_every_four_of_connect_four_is_a_line_and_no_three_are():
    game, lines = ConnectFour(1, [0]), 0
    for r in range(6):
        for c in range(7):
            for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
                line = [(r + i * dr, c + i * dc) for i in range(4)]
                if all(0 <= y < 6 and 0 <= x < 7 for y, x in line):
                    cells = np.zeros((6, 7), bool)
                    cells[tuple(zip(*line, strict=True))] = True
                    assert game.lines(np.array([bits_of("connect_four", cells)], np.uint64)).all()
                    cells[line[1]] = False
                    assert not game.lines(np.array([bits_of("connect_four", cells)], np.uint64)).any()
                    lines += 1
    assert lines == 69


def play(game, env, actions):
    """Make moves in one copy; return what the last one led to."""
    for action in actions:
        outcome = game.act(np.array([env]), np.array([action]))
    return outcome


DRAWN = [0, 1] * 3 + [1, 0] * 3 + [2, 3] * 3 + [3, 2] * 3 + [4, 5] * 3 + [5, 4] * 3 + [6] * 6


def test_a_full_board_without_a_line_is_a_draw():
    game = ConnectFour(2, [0, 1])
    game.reset(np.arange(2))
    for count, action in enumerate(DRAWN, start=1):
        reward, terminated, _ = play(game, 1, [action])
        assert not reward.any() and terminated[0] == (count == 42)
    assert not seen_by(game, 0, np.array([1]))[1].any()
    # the other copy was left alone
    assert not seen_by(game, 0, np.array([0]))[0].any() and game.seat[0] == 0
    game.reset(np.array([1]))
    obs, mask = seen_by(game, 0, np.array([1]))
    assert not obs.any() and mask.all() and game.seat[1] == 0


@pytest.mark.parametrize("name", GAMES)
def test_an_illegal_move_is_an_error_that_says_where(name):
    game = GAMES[name][0](3, range(3))
    game.reset(np.arange(3))
    play(game, 1, [0] * (6 if name == "connect_four" else 1))
    with pytest.raises(RunError, match=rf"native/{name}, copy 1: action 0 is not legal"):
        game.act(np.arange(3), np.zeros(3, np.int64))


def test_a_game_of_connect_four_as_text():
    game = ConnectFour(2, [0, 1], render_mode="ansi")
    game.reset(np.arange(2))
    play(game, 1, [3, 3, 0, 6])
    empty = " . . . . . . ."
    assert game.render(1).splitlines() == [*[empty] * 4, " . . . O . . .", " X . . X . . O", " 1 2 3 4 5 6 7"]


def test_a_game_of_tic_tac_toe_as_text():
    """Square 1 lies below square 0."""
    game = TicTacToe(1, [0], render_mode="ansi")
    game.reset(np.arange(1))
    play(game, 0, [0, 1, 4])
    assert game.render(0).splitlines() == ["1 X . .", "2 O X .", "3 . . .", "  a b c"]
    assert [tic_tac_toe.move_name(action) for action in (0, 1, 3, 8)] == ["a1", "a2", "b1", "c3"]


@pytest.mark.parametrize(("rules", "choices"), [(connect_four, 7), (tic_tac_toe, 9)])
def test_what_a_person_types_is_the_move_of_that_name(rules, choices):
    for action in range(choices):
        assert rules.parse_move(f" {rules.move_name(action).upper()}\n") == action
    for word in ("", "0", "8", "-1", "1.5", "d1", "a4", "a", "²", "left"):
        with pytest.raises(UsageError, match="type a"):
            rules.parse_move(word)


@pytest.mark.parametrize("name", GAMES)
def test_pictures_show_the_board(name):
    build, _ = GAMES[name]
    game = build(1, [0], render_mode="rgb_array")
    game.reset(np.arange(1))
    play(game, 0, [2, 1])
    frame, board = game.render(0), game.board(0)
    assert frame.dtype == np.uint8 and frame.shape == (board.shape[0] * TILE, board.shape[1] * TILE, 3)
    assert sorted(board[board > 0]) == [1, 2]
    for (row, column), content in np.ndenumerate(board):
        tile = frame[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE].reshape(-1, 3)
        for seat, colour in enumerate(game.tiles.stones, start=1):
            assert (tile == colour).all(axis=1).any() == (content == seat)


def test_games_are_registered_and_built_together():
    assert is_native("native/connect_four") and is_native("native/tic_tac_toe")
    games = make_envs(Config("native/connect_four"), 3, range(3))
    assert isinstance(games, TurnVectorEnv) and games.num_envs == 3
    with pytest.raises(UsageError, match="turn-based"):
        make_vector_env(Config("native/connect_four"), 1, [0])
    drawn = make_envs(Config("native/tic_tac_toe"), 1, [0], render_mode="rgb_array")
    drawn.reset(np.arange(1))
    assert drawn.render(0).shape == (3 * TILE, 3 * TILE, 3)
    with pytest.raises(UsageError, match="ansi or rgb_array, not 'human'"):
        make_envs(Config("native/tic_tac_toe", env_kwargs={"render_mode": "human"}), 1, [0])
    games.reset(np.arange(3))
    with pytest.raises(RunError, match="render_mode"):
        games.render(0)
