"""Leagues: who meets whom in a run, what the pool keeps, and that a resumed league is the one that was interrupted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.config import Config, LeagueConfig
from sfmarl.errors import UsageError, UserCodeError
from sfmarl.league.payoff import Payoff
from sfmarl.league.roles import SnapshotRule
from sfmarl.league.snapshot import SnapshotMeta, freeze
from sfmarl.league.store import DirectoryStore, open_store
from sfmarl.memory.match_table import EMPTY
from sfmarl.memory.plane import DataPlane
from sfmarl.monitor.episodes import Episodes
from sfmarl.run import league_report, validate
from sfmarl.run.callbacks import CALLBACKS, Callback
from sfmarl.run.league import League
from sfmarl.run.runner import check_run, resume, train
from sfmarl.storage import checkpoint
from sfmarl.workers.match_seating import LIVE
from tests.evaluation.simple_players import HERE
from tests.runs.small import wait_for


def config(run_dir: Path, league: dict | None = None, **settings) -> Config:
    """Return a small league on tic-tac-toe."""
    few = {"snapshot_env_steps": 1500, "live_snapshots": 2, "pool_size": 4, "payoff_decay": 1.0}
    defaults = {
        "env": "native/tic_tac_toe",
        "algo": "ippo",
        "hp": Hyperparameters(critic="own", hidden=(16,), epochs=1, returns="vtrace"),
        "league": LeagueConfig(**{**few, **(league or {})}),
        "env_steps": 30_000,
        "num_workers": 2,
        "num_envs_per_worker": 32,
        "num_splits": 1,
        "rollout": 8,
        "eval_env_steps": 0,
        "final_eval_episodes": 0,
        "log_seconds": 0.5,
        "quiet": True,
        "run_dir": run_dir,
    }
    return Config(**{**defaults, **settings})


def league_of(run_dir: Path) -> dict:
    return checkpoint.latest(run_dir).run_state["league"]


def make_league(tmp_path: Path, past: dict | None = None, **settings) -> League:
    plan, _ = check_run(config(tmp_path / "run", mode="serial", num_workers=1, **settings))
    plane = DataPlane.create(plan.plane)
    for player in range(plan.plane.policies):
        plane.weights(player).publish(np.full(plan.plane.weight_sizes[player], 1 + player, np.float32), 1)
    return League(plan, plane, past or {}, tell=lambda text: None, reset=lambda player: None)


def learned(league: League, env_steps: int) -> None:
    """Let main have other weights, and the league look."""
    store = league._plane.weights(0)
    store.publish(np.full_like(store.buffer[0], env_steps), store.version + 1)
    league.look(env_steps)


def live_numbers(league: League) -> list[int]:
    """Return the numbers of the entries that can be met, in the order of their columns."""
    _, matches = league._plane.match_table().read()
    return [number for number in matches.entry.tolist() if number != EMPTY]


def played(league: League, *matches: tuple[tuple[int, int], tuple[float, float]]) -> Episodes:
    spec = league._plan.env
    players, returns = (np.array(part) for part in zip(*matches, strict=True))
    return Episodes(spec, returns.astype(float), np.ones(len(matches), np.int64), players=players)


@pytest.mark.parametrize("mode", [pytest.param("async", marks=pytest.mark.slow), "serial"])
@pytest.mark.parametrize(
    "env", ["native/tic_tac_toe", pytest.param("native/rock_paper_scissors", marks=pytest.mark.slow)]
)
def test_a_league_runs_and_goes_on_with_what_it_had(mode, env, tmp_path):
    workers = {"async": 2, "serial": 1}[mode]
    # workers report results once a second: the faster game has to last a few
    env_steps = 150_000 if (mode, env) == ("async", "native/rock_paper_scissors") else 40_000
    result = train(config(tmp_path / "run", mode=mode, env=env, num_workers=workers, env_steps=env_steps))
    before = league_of(result.run_dir)
    assert len(before["pool"]["entries"]) == 4 < before["pool"]["next"], "the pool is bounded, and was full"
    assert before["matches"]["live"] > before["matches"]["frozen"] > 0
    records = result.metrics()
    assert records[-1]["league/pool_size"] == 4 and records[-1]["league/cache_misses"] >= 2
    store = open_store(result.run_dir)
    hashes = {address: store.get(address).weights.tobytes() for address in store.addresses()}
    again = resume(result.run_dir, env_steps=env_steps + 15_000)
    after = league_of(again.run_dir)
    assert after["pool"]["next"] > before["pool"]["next"]
    assert after["matches"]["live"] >= before["matches"]["live"]
    assert {address: store.get(address).weights.tobytes() for address in hashes} == hashes
    kept = [e for e in before["pool"]["entries"] if e in after["pool"]["entries"]]
    assert kept, "the newest entries of before are older ones now"


@pytest.mark.slow
def test_a_killed_league_goes_on_from_the_state_it_had_saved(tmp_path, monkeypatch):
    """kill -9 of the main process while matches run: pool, payoff, ratings and roles are the last checkpoint's."""
    words = "league native/tic_tac_toe --num-workers 2 --num-envs-per-worker 32 --rollout 8 --hidden 16 --epochs 1"
    words += f" --snapshot-env-steps 1500 --pool-size 4 --checkpoint-seconds 0.5 --quiet --run-dir {tmp_path / 'run'}"
    command = [sys.executable, "-m", "sfmarl", *words.split(), "--env-steps", "1000000000"]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for(lambda: any(int(path.name.split("-")[1]) > 30_000 for path in (tmp_path / "run").glob("*/step-*")))
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])
    saved = checkpoint.latest(tmp_path / "run").run_state
    before, loaded, load = saved["league"], [], League._load
    assert before["pool"]["next"] > 4 and before["matches"]["live"] > 1000

    def note(self, past):
        load(self, past)
        loaded.append(json.loads(json.dumps(self.state_dict())))

    monkeypatch.setattr(League, "_load", note)
    resume(tmp_path / "run", env_steps=saved["env_steps"] + 15_000)
    assert loaded == [before]
    after = league_of(tmp_path / "run")
    assert after["pool"]["next"] > before["pool"]["next"]
    assert after["matches"]["live"] > before["matches"]["live"]


def test_a_game_of_three_seats(tmp_path):
    """Each plays alone against two; a higher number wins, and 2 is soon learned."""
    few = {"snapshot_env_steps": 600, "self_play": 0.2, "evaluation_share": 0.3, "payoff_decay": 0.9}
    settings = {"mode": "serial", "num_workers": 1, "env_steps": 3000}
    hp = Hyperparameters(critic="own", hidden=(8,), epochs=4, lr=0.02)
    run_dir = train(config(tmp_path / "run", env=f"{HERE}:HighNumber", league=few, hp=hp, **settings)).run_dir
    found = league_of(run_dir)
    assert found["payoff"]["seats"] == 3
    payoff = Payoff(3)
    payoff.load_state_dict(found["payoff"])
    assert payoff.win_rate("main", "random") > 0.7, "against numbers that are drawn evenly 2 scores 5 / 6"
    in_seat = [payoff.counts(["main"], ["random"], seat).games.item() for seat in range(3)]
    assert min(in_seat) > 0
    assert found["elo"]["ratings"]["main"] > found["elo"]["ratings"]["random"]


def test_a_serial_league_is_a_function_of_its_seed(tmp_path):
    one, two = (
        league_of(train(config(tmp_path / name, mode="serial", num_workers=1, env_steps=8000)).run_dir) for name in "ab"
    )
    assert one == two and one["matches"]["frozen"] > 0


def test_a_resumed_league_equals_the_one_that_was_saved(tmp_path):
    league = make_league(tmp_path, league={"live_snapshots": 3})
    for step in range(5):
        learned(league, 5000 * (1 + step))
        live = live_numbers(league)
        league.episodes(played(league, ((LIVE, live[-1]), (1, -1)), ((live[0], LIVE), (0, 0)), ((LIVE, LIVE), (1, -1))))
    saved = json.loads(json.dumps(league.state_dict()))
    assert saved["payoff"]["cells"] and len(saved["pool"]["entries"]) == 4 < saved["pool"]["next"]
    here = {entry["address"] for entry in saved["pool"]["entries"]}
    assert set(saved["payoff"]["keys"]) == here | {"main"}, "who was evicted is forgotten"
    shutil.copytree(tmp_path / "run" / "snapshots", tmp_path / "again" / "run" / "snapshots")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate, "_check_free", lambda run_dir: None)
        again = make_league(tmp_path / "again", past=saved, league={"live_snapshots": 3})
    assert again.state_dict()["generator"] == saved["generator"]
    assert json.loads(json.dumps(again.state_dict())) == saved


def test_results_are_those_of_the_match_whoever_sat_where(tmp_path):
    league = make_league(tmp_path)
    learned(league, 3000)
    (entry,) = league.pool.entries
    won, lost, drawn = ((LIVE, 0), (1, -1)), ((0, LIVE), (1, -1)), ((LIVE - 1, 0), (0, 0))
    league.episodes(played(league, won, won, won, lost, drawn, ((LIVE, LIVE), (1, -1))))
    counts = league.results.payoff.counts(["main"], [entry.address])
    assert (counts.wins, counts.losses, counts.draws) == (3, 1, 0)
    assert league.results.payoff.counts(["random"], [entry.address]).draws == 1
    assert league.results.payoff.counts(["main"], ["main"]).games == 0, "a game against itself says nothing"
    assert league.results.matches == {"live": 5, "frozen": 1}


def test_a_snapshot_is_taken_on_schedule_or_when_everybody_is_beaten(tmp_path):
    league = make_league(tmp_path, league={"snapshot_env_steps": 40_000})
    learned(league, 39_999)
    assert not league.pool.entries
    learned(league, 45_000)
    assert [entry.meta.env_steps for entry in league.pool.entries] == [45_000]
    league.episodes(played(league, *20 * [((LIVE, 0), (1, -1))]))
    learned(league, 54_000)
    assert len(league.pool) == 1, "too early, however good"
    learned(league, 60_000)
    assert [entry.meta.env_steps for entry in league.pool.entries] == [45_000, 60_000]
    assert league.pool.entries[1].meta.parent == league.pool.entries[0].address
    learned(league, 80_000)
    assert len(league.pool) == 2, "nobody knows yet who beats the newest"


def test_the_table_follows_the_matchmaker_and_self_play_keeps_its_share(tmp_path):
    league = make_league(tmp_path, league={"self_play": 0.25, "matchmaker": "uniform", "live_snapshots": 3})
    for step in range(3):
        learned(league, 5000 * (1 + step))
    _, matches = league._plane.match_table().read()
    assert sorted(matches.entry.tolist()) == [EMPTY, EMPTY, 0, 1, 2]
    np.testing.assert_allclose(matches.probability[0], [0.25, 0.25, 0.25, 0.25, 0.0])
    cells = {tuple(row) for row in matches.evaluation.tolist()}
    assert cells and all(len(set(cell)) == 2 for cell in cells)
    assert matches.evaluation_share == 0.1


def test_who_learns_goes_on_meeting_scripts_however_certain_their_games_are(tmp_path):
    """Results of a player that learns age, and nobody meets a script but in evaluation matches."""
    league = make_league(tmp_path)
    for step in range(3):
        learned(league, 3000 * (1 + step))
    for seats in ((LIVE, LIVE - 1), (LIVE - 1, LIVE)):
        league.episodes(played(league, *100 * [(seats, (1, -1))]))
    learned(league, 12_000)
    matches = league._plane.match_table().read()[1]
    spec = league._plane.spec.table
    main, random = spec.column_of_learning(0), spec.column_of_script(0)
    kinds = {tuple(row) for row in matches.evaluation.tolist()}
    assert {(main, random), (random, main)} < kinds


def test_pulling_all_counts_every_snapshot_met_or_not(tmp_path):
    league = make_league(tmp_path, league={"pool_size": 2})
    for step in range(4):
        learned(league, 3000 * (1 + step))
    flat = league._plane.weights(0).buffer.shape[1]
    assert league_report.scalars(league)["league/bytes_if_all_pulled"] == 4 * 4 * flat * league._plan.plane.workers


def test_without_snapshots_a_player_plays_itself(tmp_path):
    league = make_league(tmp_path)
    _, matches = league._plane.match_table().read()
    assert matches.probability.tolist() == [[0, 0, 1, 0]]


def test_a_pool_larger_than_the_room_is_sampled_over_time(tmp_path):
    league = make_league(tmp_path, league={"live_snapshots": 4, "pool_size": 12, "matchmaker": "uniform"})
    seen: set[int] = set()
    table = league._plane.match_table()
    for seat in league._plane.scratch(0, 0) + league._plane.scratch(0, 1):
        seat.player[:] = -1
    for step in range(120):
        learned(league, 5000 * (1 + step))
        if step == 11:
            league.roles[0].rule = SnapshotRule(10**9, 10**9)
        table.seen[:] = table.version
        live = set(live_numbers(league))
        seen |= live if step > 11 else set()
    assert seen == {entry.number for entry in league.pool.entries} and len(seen) == 12


def test_an_exploiter_is_frozen_as_it_is_and_then_begins_anew(tmp_path):
    roles = {"main": "main", "exploiter": "main_exploiter"}
    league = make_league(tmp_path, league={"roles": roles, "snapshot_env_steps": 40_000}, num_splits=2)
    resets: list[int] = []
    league._reset = resets.append
    for player in (0, 1):
        store = league._plane.weights(player)
        store.publish(np.full_like(store.buffer[0], 10 + player), 2)
    _, matches = league._plane.match_table().read()
    assert matches.probability[1].tolist() == [0, 0, 1, 0, 0], "the exploiter meets main as it is now"
    won = ((LIVE - 1, LIVE), (1, -1))
    league.episodes(played(league, *20 * [won]))
    assert league.look(10_000), "which is to be saved: until then a learner that dies would go on from before"
    assert [(e.meta.player, e.meta.role) for e in league.pool.entries] == [("exploiter", "main_exploiter")]
    assert league.pool.store.get(league.pool.addresses[0]).weights[0] == 11
    assert resets == [1]
    assert league.results.payoff.counts(["exploiter"], ["main"]).games == 0


def test_who_has_learned_nothing_since_is_not_frozen_again(tmp_path):
    """A learner that is slow to begin anew would fill the pool with its first weights, and push out everybody else."""
    roles = {"main": "main", "exploiter": "main_exploiter"}
    league = make_league(tmp_path, league={"roles": roles}, num_splits=2)
    resets: list[int] = []
    league._reset = resets.append
    for env_steps in range(40_000, 400_000, 40_000):
        league.look(env_steps)
    assert [entry.meta.player for entry in league.pool.entries] == ["main", "exploiter"] and resets == [1]
    store = league._plane.weights(1)
    store.publish(np.full_like(store.buffer[0], 20), store.version + 1)
    league.look(440_000)
    assert [entry.meta.player for entry in league.pool.entries] == ["main", "exploiter", "exploiter"]
    assert resets == [1, 1]


def test_who_begins_anew_begins_with_what_the_run_began_with(tmp_path, monkeypatch):
    """From the run's own files: where the weights came from is gone. A checkpoint tells of it at once."""
    few = {"roles": {"main": "league_exploiter"}, "snapshot_env_steps": 2000}
    old = train(config(tmp_path / "old", mode="serial", num_workers=1, env_steps=3000)).run_dir
    steps = []

    class Gone(Callback):
        def on_start(self, run):
            shutil.rmtree(old, ignore_errors=True)

        def on_checkpoint(self, path):
            steps.append(path.name)

    monkeypatch.setitem(CALLBACKS._values, "gone", Gone)
    settings = {"league": few, "mode": "serial", "num_workers": 1, "env_steps": 40_000, "keep_checkpoints": 1}
    run = train(config(tmp_path / "run", init_from=f"{old}:main", callbacks=("gone",), **settings))
    first, newest = checkpoint.checkpoint_paths(run.run_dir)[-1], checkpoint.latest(run.run_dir)
    assert first.name == "step-000000000000" and newest.env_steps >= 40_000
    assert len(steps) > 2, "once for every new beginning"


@pytest.mark.slow
def test_two_players_have_learners_of_their_own(tmp_path):
    roles = {"main": "main", "weak": "main_exploiter", "all": "league_exploiter", "other": "simple"}
    result = train(config(tmp_path / "run", league={"roles": roles, "pool_size": 20}, num_splits=2))
    players = {entry["meta"]["player"] for entry in league_of(result.run_dir)["pool"]["entries"]}
    assert players == set(roles)
    last = result.metrics()[-1]
    assert {f"learner/{name}/entropy" for name in roles} | {"league/main/rating"} <= set(last)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"env": "games/climbing"}, "at least two teams"),
        ({"env": "native/simple_tag"}, "are not alike"),
        ({"league": {"matchmaker": "pfps"}}, "pfsp"),
        ({"league": {"roles": {"main": "captain"}}}, "no role 'captain'"),
        ({"league": {"roles": {}}}, "somebody who learns"),
        ({"league": {"scripts": ("nowhere",)}}, "nowhere"),
        ({"league": {"pool_size": 1}}, "pool_size"),
        ({"league": {"evaluation_share": 1.0}}, "evaluation_share"),
        ({"league": {"payoff_decay": 0.0}}, "payoff_decay"),
        ({"policies": {"player_0": "main"}}, "leave out policies"),
        ({"players": {"mainn": {"lr": 1e-3}}}, "has no role"),
        ({"league": {"roles": {str(n): "simple" for n in range(9)}}}, "learning players need as many splits"),
        ({"league": {"roles": {"random": "simple"}}}, "player and a script"),
        ({"league": {"seed_pool": ("nowhere",)}}, "nowhere"),
        ({"league": {"matchmaker": "window?size=ten"}}, "size = 'ten'"),
        ({"league": {"eviction": "thin?size=1"}}, "no setting 'size'"),
        (
            {"league": {"roles": {"main": "simple", "other": "simple"}}, "players": {"other": {"activation": "relu"}}},
            r"'main' and 'other' differ: actor\.activation: \"tanh\" here, \"relu\" there",
        ),
    ],
)
def test_what_cannot_be_a_league_is_refused(settings, why, tmp_path):
    with pytest.raises(UsageError, match=why):
        train(config(tmp_path / "run", **settings))
    assert not (tmp_path / "run").exists()


class Failing:
    """A matchmaker that cannot choose."""

    def distribution(self, view):
        """Fail."""
        raise IndexError("none")


@pytest.mark.parametrize(
    ("league", "error", "why"),
    [
        ({"seed_pool": ("{bad}",)}, UsageError, "is not a snapshot that can be used"),
        ({"seed_pool": ("{empty}",)}, UsageError, "holds no snapshots"),
        ({"seed_pool": ("{other}",)}, UsageError, r"another architecture than the pool: .*actor\.hidden"),
        ({"matchmaker": f"{__name__}:Failing"}, UserCodeError, "Matchmaker Failing raised IndexError"),
        ({"pool_size": 2, "eviction": f"{__name__}:nobody", "seed_pool": ("{good}",)}, UserCodeError, "chose None"),
    ],
)
def test_what_a_league_would_fail_at_is_told_before_anything_is_created(league, error, why, tmp_path):
    plan = check_run(config(tmp_path / "run", mode="serial", num_workers=1))[0]
    flat = np.ones(plan.plane.weight_sizes[0], np.float32)
    unlike = json.loads(plan.architecture)
    unlike["actor"]["hidden"] = [3]
    for number in range(3):
        for name, built in (("good", plan.architecture), ("bad", plan.architecture), ("other", unlike)):
            DirectoryStore(tmp_path / name).put(freeze(built, flat * number, SnapshotMeta("main", order=number)))
    damage(next((tmp_path / "bad").iterdir()))
    (tmp_path / "empty").mkdir()
    if seeds := league.get("seed_pool"):
        league = league | {"seed_pool": tuple(str(tmp_path / seed.strip("{}")) for seed in seeds)}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=why):
        train(config(tmp_path / "run", mode="serial", num_workers=1, league=league))
    assert sorted(tmp_path.rglob("*")) == before


def nobody(entries, may_go):
    """An eviction rule that cannot choose."""


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
def test_a_game_whose_outcome_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UsageError, match="outcome of a match cannot be read"):
        train(config(tmp_path / "run", env="native/prisoners_dilemma"))


@pytest.mark.parametrize(("harm", "why"), [(damage, "is not a snapshot that can be used"), (Path.unlink, "missing")])
def test_a_league_whose_snapshots_are_damaged_is_not_resumed_and_loses_nothing(harm, why, tmp_path):
    settings = {"mode": "serial", "num_workers": 1, "env_steps": 4000}
    run_dir = train(config(tmp_path / "run", league={"live_snapshots": 1}, **settings)).run_dir
    entries = league_of(run_dir)["pool"]["entries"]
    for entry in entries:
        path = run_dir / "snapshots" / f"{entry['address']}.safetensors"
        whole = path.read_bytes()
        harm(path)
        before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
        with pytest.raises(UsageError, match=why) as refused:
            resume(run_dir, env_steps=6000)
        assert entry["address"][:12] in str(refused.value)
        assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
        path.write_bytes(whole)
    assert len(entries) > 1, "of which one is live"
    resume(run_dir, env_steps=6000)


@pytest.mark.slow
def test_the_pool_of_another_run_seeds_this_one(tmp_path):
    first = train(config(tmp_path / "first")).run_dir
    second = train(config(tmp_path / "second", league={"seed_pool": (str(first),), "pool_size": 20})).run_dir
    ours = {entry["address"] for entry in league_of(second)["pool"]["entries"]}
    assert set(open_store(first).addresses()) <= ours
    other = Hyperparameters(critic="own", hidden=(8,), epochs=1, returns="vtrace")
    with pytest.raises(UsageError, match="another architecture"):
        train(config(tmp_path / "third", league={"seed_pool": (str(first),)}, hp=other))
