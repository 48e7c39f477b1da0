"""Cross-play: every seat, every pair, and each row answered by whoever sits there."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from saved_runs import save_run

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.config import Config
from sfmarl.envs.registry import load_spec, make_turn_envs
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation import parallel_play
from sfmarl.evaluation.contestants import Contestant, read_contestants
from sfmarl.evaluation.cross_play import pairings, play_matches, with_outcomes
from sfmarl.evaluation.games import Games
from sfmarl.evaluation.parallel_play import Play, play_all
from sfmarl.evaluation.policy import load_policy
from sfmarl.evaluation.requests import read_requests
from sfmarl.signals import Interrupted
from tests.evaluation.simple_players import HERE

TICTACTOE = Config(env="native/tic_tac_toe", algo="ippo", policies={"player_1": "main", "player_2": "main"})
LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


def script(name: str) -> Contestant:
    return Contestant(name, name, "script", script=name if name == "random" else f"{HERE}:{name}")


def tic_tac_toe(choose) -> list[float]:
    """Return the outcome of a game, by rules written out here. `choose(seat, free squares)` moves."""
    owner: dict[int, int] = {}
    for turn in range(9):
        seat = turn % 2
        owner[choose(seat, [square for square in range(9) if square not in owner])] = seat
        if any(all(owner.get(square) == seat for square in line) for line in LINES):
            return [1.0, 0.0] if seat == 0 else [0.0, 1.0]
    return [0.5, 0.5]


CHOICE = {
    "first": lambda free: free[0],
    "last": lambda free: free[-1],
    "middle": lambda free: free[(len(free) - 1) // 2],
}


@pytest.mark.parametrize("env", ["native/tic_tac_toe", "classic/tictactoe-v3"])
def test_known_players_have_known_results(env):
    """On the vector arena and on PettingZoo's own game, one after the other."""
    if env.startswith("classic"):
        pytest.importorskip("pygame")
    players = [script(name) for name in CHOICE]
    matches = np.repeat(pairings(3, 2), 7, axis=0)
    found = play_matches(Config(env), players, matches, seed=0)
    names = list(CHOICE)
    expected = [tic_tac_toe(lambda seat, free, who=who: CHOICE[names[who[seat]]](free)) for who in matches.tolist()]
    assert len({tuple(row) for row in expected}) > 1
    np.testing.assert_array_equal(found, expected)


def test_games_of_unequal_length_all_count():
    """A queue of matches over few copies: the short games do not take the place of the long ones."""
    players = [script("first"), script("middle"), script("random")]
    matches = np.repeat(pairings(3, 2), 300, axis=0)
    found = play_matches(Config("native/tic_tac_toe"), players, matches, seed=3)
    assert np.isfinite(found).all() and (found.sum(1) == 1).all()
    against_random = found[(matches == (0, 2)).all(1)][:, 0]
    rng = np.random.default_rng(0)
    expected = [tic_tac_toe(lambda seat, free: free[0] if seat == 0 else int(rng.choice(free)))[0] for _ in range(3000)]
    assert abs(against_random.mean() - np.mean(expected)) < 4 * np.std(expected) / np.sqrt(300)


@pytest.mark.parametrize("seats", [2, 3, 4])
@pytest.mark.parametrize("players", [2, 3, 5])
def test_everybody_sits_everywhere_equally_often(players, seats):
    found = pairings(players, seats)
    assert len(found) == players * (players - 1) * (1 if seats == 2 else seats)
    for seat in range(seats):
        sat = Counter(found[:, seat].tolist())
        assert len(sat) == players and len(set(sat.values())) == 1
    assert all(len(set(row)) == 2 for row in found.tolist())
    alone = {(seat, row[seat]) for row in found.tolist() for seat in range(seats) if row.count(row[seat]) == 1}
    assert alone == {(seat, player) for seat in range(seats) for player in range(players)}


def test_three_seats_and_simultaneous_moves():
    players = [script("zero"), script("one"), script("two")]
    matches = pairings(3, 3)
    found = play_matches(Config(f"{HERE}:HighNumber"), players, matches, seed=0)
    above = (matches[:, :, None] > matches[:, None, :]) + 0.5 * (matches[:, :, None] == matches[:, None, :])
    np.testing.assert_allclose(found, (above.sum(2) - 0.5) / 2)


def test_what_the_environment_says_of_the_outcome_goes_before_its_returns():
    players, matches = [script("one"), script("two")], pairings(2, 3)
    everybody = {"unfair": True, "told": ["north", "east", "south"]}
    config = with_outcomes(Config(f"{HERE}:HighNumber", everybody))
    fair = play_matches(Config(f"{HERE}:HighNumber"), players, matches, seed=0)
    np.testing.assert_array_equal(play_matches(config, players, matches, seed=0), fair)
    some = with_outcomes(Config(f"{HERE}:HighNumber", {**everybody, "told": ["north", "south"]}))
    with pytest.raises(UsageError, match=r'info\["outcome"\] is missing for seats \[1\]'):
        play_matches(some, players, matches, seed=0)
    for env, asked in (("native/rock_paper_scissors", True), ("native/tic_tac_toe", False)):
        assert bool(with_outcomes(Config(env)).info_metrics) == asked


def test_native_games_of_simultaneous_moves():
    found = play_matches(
        with_outcomes(Config("native/rock_paper_scissors")),
        [script("zero"), script("one"), script("two")],
        pairings(3, 2),
        seed=0,
    )
    rock, paper, scissors = 0, 1, 2
    beats = {(paper, rock), (scissors, paper), (rock, scissors)}
    assert found[:, 0].tolist() == [float(tuple(pair) in beats) for pair in pairings(3, 2).tolist()]


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """Runs of untrained policies with clear choices: two that are built alike, a wider one, two with memory."""
    folder, made = tmp_path_factory.mktemp("policies"), []
    for seed, (hidden, rnn) in enumerate([((16,), "none"), ((16,), "none"), ((24, 8), "none"), ((16,), "gru"),
                                          ((16,), "lstm")]):  # fmt: skip
        hp = Hyperparameters(critic="own", hidden=hidden, actor_rnn=rnn, rnn_size=8)
        save_run(folder / f"run{seed}", Config(**{**vars(TICTACTOE), "hp": hp}), seed=seed + 1)
        made.append(folder / f"run{seed}")
    return made


def test_every_row_is_answered_by_the_policy_that_sits_there(policies):
    """Greedy games equal those that the loaded policies play by themselves, memory and all."""
    requests, config = read_requests(list(map(str, policies)))
    contestants = read_contestants(requests, load_spec(config))
    matches = pairings(len(policies), 2)
    found = play_matches(config, contestants, matches, seed=0, greedy=True)
    (game,) = make_turn_envs(config, 1)
    expected = []
    for match in matches.tolist():
        seated = [load_policy(policies[who]) for who in match]
        game.reset(0)
        returns = np.zeros(2)
        while (turn := game.turn()) is not None:
            returns[turn.seat] += turn.reward
            if turn.terminated:
                game.act(None)
                continue
            obs, mask = np.zeros((3, 3, 2), np.int8), np.zeros(9, bool)
            game.observe(obs, mask, None)
            game.act(seated[turn.seat].act(obs, game.spec.teams[turn.seat].agents[0], action_mask=mask))
        expected.append([(1 + value) / 2 for value in returns])
    assert len({tuple(row) for row in expected}) > 1, "somebody wins something"
    np.testing.assert_array_equal(found, expected)


def test_openings_are_random_and_legal_and_then_the_players_move(policies):
    requests, config = read_requests([str(policies[0]), "random"])
    spec = load_spec(config)
    games = Games(spec, [*read_contestants(requests, spec), script("first")], envs=400, seed=0, openings=2)
    for env in range(400):
        games.begin(env, (2, 2))
    mask = np.zeros((400, 1, 9), bool)
    mask[:, :, [1, 4, 8]] = True
    envs, obs = np.arange(400), np.zeros((400, 1, 3, 3, 2), np.int8)
    for ply in range(3):
        chosen = games.crowds[ply % 2].act_in(envs, obs, mask, np.zeros((400, 1), int), False, np.ones((400, 1), bool))
        counts = np.bincount(chosen[:, 0], minlength=9)
        assert counts.sum() == counts[[1, 4, 8]].sum() == 400
        assert (counts[[1, 4, 8]] > 90).all() if ply < 2 else counts[1] == 400
    assert [len(moves) for moves in games.moves] == [3] * 400
    games.begin(7, (2, 2))
    assert games.plies[7] == 0 and games.moves[7] == [] and games.plies[8] == 3


def test_greedy_games_differ_by_their_openings_alone(policies):
    requests, config = read_requests(list(map(str, policies[:2])))
    contestants = read_contestants(requests, load_spec(config))
    matches = np.repeat(pairings(2, 2)[:1], 60, axis=0)
    same = play_matches(config, contestants, matches, seed=0, greedy=True)
    other = play_matches(config, contestants, matches, seed=0, greedy=True, openings=3)
    assert len(np.unique(same, axis=0)) == 1 < len(np.unique(other, axis=0))
    again = play_matches(config, contestants, matches, seed=0, greedy=True, openings=3)
    np.testing.assert_array_equal(other, again)


def test_what_cannot_be_played_is_told():
    with pytest.raises(UsageError, match="outcome of a match cannot be read"):
        play_matches(Config(f"{HERE}:HighNumber", {"unfair": True}), [script("one"), script("two")], pairings(2, 3), 0)
    with pytest.raises(RunError, match="did not end within 4 steps"):
        play_matches(Config("native/tic_tac_toe"), [script("first"), script("last")], pairings(2, 2), 0,
                     max_episode_steps=4)  # fmt: skip


@pytest.mark.slow
def test_processes_play_the_same_games(policies):
    requests, config = read_requests([str(policies[0]), str(policies[3]), "random"])
    play = Play(config, read_contestants(requests, load_spec(config)), seed=4, greedy=False, openings=0)
    matches = np.repeat(pairings(3, 2), 40, axis=0)
    told = []
    one = play_all(play, matches, 1, told.append)
    two = play_all(play, matches, 2, told.append)
    np.testing.assert_array_equal(one, two)
    assert sum(told) == 2 * len(matches)


def test_a_signal_that_was_held_back_while_a_process_started_leaves_none(monkeypatch):
    """It comes before anything else happens: at the end of `held`."""

    @contextmanager
    def interrupted() -> Iterator[None]:
        yield
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(parallel_play, "held", interrupted)
    play = Play(Config("native/tic_tac_toe"), [script("first"), script("last")], seed=0, greedy=False, openings=0)
    with pytest.raises(Interrupted):
        play_all(play, np.repeat(pairings(2, 2), 100, axis=0), 2, lambda count: None)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_killed_process_ends_the_tournament_with_a_message():
    play = Play(Config("native/tic_tac_toe"), [script("first"), script("killed")], seed=0, greedy=False, openings=0)
    with pytest.raises(RunError, match="was killed"):
        play_all(play, np.repeat(pairings(2, 2), 100, axis=0), 2, lambda count: None)


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_as_in_this_one():
    play = Play(Config("native/tic_tac_toe"), [script("first"), script("zero")], seed=0, greedy=False, openings=0)
    with pytest.raises(RunError, match="is not legal"):
        play_all(play, np.repeat(pairings(2, 2), 100, axis=0), 2, lambda count: None)
