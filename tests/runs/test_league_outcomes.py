"""Who won a match is what the environment says, else its own returns; never what is learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.config import Config, LeagueConfig
from sfmarl.envs.infos import OUTCOME
from sfmarl.errors import UsageError
from sfmarl.league.payoff import Payoff
from sfmarl.monitor.episodes import Episodes
from sfmarl.run.league_results import Results
from sfmarl.run.runner import train
from sfmarl.storage import checkpoint
from sfmarl.workers.match_seating import LIVE
from tests.runs import league_games

GAMES = "tests.runs.league_games"


def config(run_dir: Path, **settings) -> Config:
    """Return a serial league on a duel."""
    defaults = {
        "env": f"{GAMES}:Duel",
        "algo": "ippo",
        "hp": Hyperparameters(critic="own", hidden=(8,), epochs=2, returns="vtrace", lr=0.03, entropy_coef=0.0),
        "league": LeagueConfig(snapshot_env_steps=500, live_snapshots=2, evaluation_share=0.3),
        "mode": "serial",
        "env_steps": 6000,
        "num_workers": 1,
        "num_envs_per_worker": 16,
        "num_splits": 1,
        "rollout": 8,
        "eval_env_steps": 0,
        "final_eval_episodes": 0,
        "quiet": True,
        "run_dir": run_dir,
    }
    made = Config(**{**defaults, **settings})
    if made.env.endswith(":Duel"):
        made.teams = "each"  # alike by their names, and opponents
    return made


def results_of(run_dir: Path) -> Payoff:
    payoff = Payoff()
    payoff.load_state_dict(checkpoint.latest(run_dir).run_state["league"]["payoff"])
    return payoff


@pytest.mark.parametrize(
    ("env", "kwargs"),
    [
        ("Duel", {}),
        ("DuelInTurns", {"says": "words"}),
        ("native_duel", {}),
        ("DuelTables", {}),
    ],
)
def test_what_the_environment_says_is_the_outcome_and_what_it_pays_is_learned(env, kwargs, tmp_path):
    result = train(config(tmp_path / "run", env=f"{GAMES}:{env}", env_kwargs=kwargs))
    counts = results_of(result.run_dir).counts(["main"], ["random"])
    assert counts.losses > 2 * counts.wins > 0, "whoever learns what pays loses"
    last = [record for record in result.metrics() if "episode/length" in record][-1]
    assert last["episode/return_team/player_0"] > 1.2, "it did learn"
    assert -1 <= last["info/outcome/player_0"] <= 1


@pytest.mark.parametrize("env", ["Duel", "DuelInTurns"])
@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("nothing", r"add up to .*, not 0\. Have the environment say who won"),
        ("first", r"is missing for seats \[1\] of 2"),
        ("other words", r"'outcome' is no number but 'sign .*it may be 1, 0 or -1, or win, draw, loss"),
    ],
)
def test_a_game_whose_outcome_cannot_be_read_ends_at_its_first_match(env, says, why, tmp_path):
    # no snapshot and no evaluation match comes before the end: self-play alone must tell
    settings = LeagueConfig(snapshot_env_steps=100_000, evaluation_share=0.0)
    with pytest.raises(UsageError, match=why):
        train(config(tmp_path / "run", env=f"{GAMES}:{env}", env_kwargs={"says": says}, league=settings))
    assert len(checkpoint.checkpoint_paths(tmp_path / "run")) == 2, "one of the beginning, one of the end"


@pytest.mark.slow
def test_what_a_worker_cannot_read_ends_the_run_like_what_the_league_cannot(tmp_path):
    settings = {"env_kwargs": {"says": "other words"}, "mode": "async", "num_workers": 2}
    with pytest.raises(UsageError, match=r"rollout worker \d failed: .* it may be 1, 0 or -1"):
        train(config(tmp_path / "run", env=f"{GAMES}:Duel", **settings))
    assert checkpoint.checkpoint_paths(tmp_path / "run")


def test_shaped_rewards_say_nothing_of_the_outcome():
    results, returns = Results(LeagueConfig(), 2, 1), np.array([[3.0, -3.0]])
    results.add(_match(returns, shaped=-returns), _key, [])
    assert results.payoff.counts(["main"], ["other"]).wins == 1


@pytest.mark.parametrize("last", [-1.0, 1.0])
def test_results_of_a_report_fade_in_the_order_of_its_matches(last):
    """Not in that of whoever groups matches that ended alike: a report may hold more games than are remembered."""
    results = Results(LeagueConfig(payoff_decay=0.9), 2, 1)
    mixed = np.where(np.random.default_rng(0).permutation(400) < 200, 1.0, -1.0)
    results.add(_match(mixed[:, None] * [1, -1]), _key, [])
    even = results.payoff.counts(["main"], ["other"])
    assert abs(even.win_rate.item() - 0.5) < 0.4 and even.effective.item() > 15
    ordered = np.repeat([-last, last], 100)
    results.add(_match(ordered[:, None] * [1, -1]), _key, [])
    assert results.payoff.win_rate("main", "other") == pytest.approx((1 + last) / 2, abs=1e-4)


def test_an_environment_that_said_who_won_once_has_to_say_it_always():
    results, returns = Results(LeagueConfig(), 2, 1), np.array([[3.0, -3.0]])
    results.add(_match(returns, {OUTCOME: np.array([[-1.0, 1.0]])}), _key, [])
    assert results.payoff.counts(["main"], ["other"]).losses == 1
    with pytest.raises(UsageError, match="also of a match that is cut off"):
        results.add(_match(returns, {OUTCOME: np.full((1, 2), np.nan)}), _key, [])


def _key(identity: int) -> str:
    return "main" if identity == LIVE else "other"


def _match(returns: np.ndarray, infos=None, shaped=None) -> Episodes:
    spec = league_games.DuelTables(1, [0]).spec
    players = np.tile([LIVE, LIVE - 1], (len(returns), 1))
    return Episodes(spec, returns, np.ones(len(returns), np.int64), shaped, infos or {}, players)


def test_the_outcome_cannot_be_pooled_over_steps(tmp_path):
    with pytest.raises(UsageError, match="cannot be pooled over steps"):
        train(config(tmp_path / "run", info_metrics=("outcome:sum",)))
