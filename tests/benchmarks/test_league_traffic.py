"""`benchmarks/league_traffic.py`: bytes and waiting of replayed leagues, where theory says what they must be."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from sfmarl.errors import UsageError

MB200 = 200_000_000


def even(snapshots: int, players: int = 1):
    """Return an epoch in which everybody meets every snapshot alike."""
    from traffic_league import Epoch

    addresses = tuple(f"{number:064x}" for number in range(snapshots))
    return Epoch(addresses, np.full((players, snapshots), 1 / snapshots), snapshots)


def simulate(design, fleet, matches=20_000, epochs=None, refresh=10**9, warm=True, seed=1):
    from traffic_events import Simulation

    simulation = Simulation(design, fleet, epochs or [even(50)], refresh, seed, warm)
    half, end = simulation.run(matches)
    return simulation, half, end


def test_one_per_match_misses_whatever_is_not_met_twice_in_a_row():
    from traffic_fleet import Design, Fleet

    tracemalloc.start()
    _, half, end = simulate(Design("one", actor=1), Fleet(100, 40, MB200))
    assert tracemalloc.get_traced_memory()[1] < MB200, "weights are counted, not allocated"
    tracemalloc.stop()
    assert end.matches - half.matches == 10_000
    missed = (end.store_bytes - half.store_bytes) / MB200
    # 49 of 50 in expectation; five standard deviations of a binomial
    assert missed == pytest.approx(9800, abs=5 * math.sqrt(10_000 * 0.02 * 0.98))
    assert (end.seconds - half.seconds) == pytest.approx(10_000 / 100 * 300, rel=0.02)


def test_least_recently_used_of_even_chances_holds_its_share():
    from traffic_fleet import Design, Fleet

    for design in (Design("8", actor=8), Design("rack", actor=1, rack=8)):
        _, half, end = simulate(design, Fleet(20, 20, MB200), epochs=[even(32)])
        # of 20 actors each with 1: their own repeats (1 of 32) are not asked of the rack
        asked = 10_000 if not design.rack else 10_000 * 31 / 32
        assert (end.store_bytes - half.store_bytes) / MB200 == pytest.approx(asked * 24 / 32, rel=0.03)


def test_pull_all_moves_every_new_snapshot_to_every_actor_and_nothing_else():
    from traffic_fleet import Design, Fleet
    from traffic_league import ReplayedLeague, Schedule, Strengths

    schedule = Schedule(refresh=100, snapshot=400, limit=12, players=2)
    league = ReplayedLeague("pfsp", schedule, Strengths(), 10, seed=3)
    epochs = league.epochs(4000)
    assert epochs[-1].taken - epochs[0].taken == 10 and len(epochs[-1].addresses) == 12
    design = Design("all", actor=12, pull_all=True)
    simulation, _, end = simulate(design, Fleet(30, 10, MB200), 4000, epochs, refresh=100)
    begun_with = 30 * 10 * MB200
    assert end.store_bytes - begun_with == 30 * 10 * MB200
    assert sum(simulation.store.sent.values()) == end.store_bytes - begun_with
    assert set(simulation.waits) == {0}


def test_a_rack_that_keeps_all_fetches_each_snapshot_once():
    from traffic_fleet import Design, Fleet

    simulation, half, end = simulate(Design("rack", actor=1, rack=50), Fleet(100, 40, MB200), warm=False)
    assert end.store_bytes == 3 * 50 * MB200
    assert half.store_bytes == end.store_bytes, "all racks had met all of them by then"
    assert end.rack_bytes / MB200 == pytest.approx(20_000 * 49 / 50, rel=0.01)
    assert sum(simulation.store.sent.values()) == end.store_bytes


def test_what_is_on_its_way_to_a_rack_is_not_sent_twice():
    from traffic_fleet import Design, Fleet

    # one snapshot, 8 s on the way; all four actors ask for it within a second
    fleet = Fleet(4, 4, MB200, mean_match=1.0, spread="constant", store_gbit=0.2, rack_gbit=1600)
    simulation, _, end = simulate(Design("rack", actor=1, rack=2), fleet, 8, [even(1)], warm=False)
    assert end.store_bytes == MB200 and end.rack_bytes == 4 * MB200
    assert sorted(simulation.waits)[-4:] == pytest.approx([7.5] * 4, abs=0.6)


def test_waiting_is_that_of_a_queue_of_equal_transfers():
    from traffic_fleet import Design, Fleet

    # 400 actors, exponential matches: nearly Poisson arrivals; M/D/1 at load .7 (Pollaczek-Khinchine)
    service, load = 0.1, 0.7
    gbit = MB200 * 8e-9 / service
    fleet = Fleet(400, 400, MB200, mean_match=400 * service / load, spread="exponential", store_gbit=gbit)
    simulation, half, _ = simulate(Design("one", actor=1), fleet, 80_000, [even(5000)])
    waits = np.array(simulation.waits[half.waited :])
    expected = service + load * service / (2 * (1 - load))
    assert waits.mean() == pytest.approx(expected, rel=0.1)


def test_a_link_that_is_too_slow_slows_the_league_down_to_its_pace():
    from traffic_fleet import Design, Fleet

    fleet = Fleet(100, 50, MB200, mean_match=10.0, store_gbit=8.0)  # 5 a second out of 10 that would be
    _, half, end = simulate(Design("one", actor=1), fleet, 5000, [even(5000)])
    assert (end.matches - half.matches) / (end.seconds - half.seconds) == pytest.approx(5, rel=0.03)


def test_restarted_actors_begin_with_nothing():
    from traffic_fleet import Design, Fleet

    fleet = Fleet(20, 20, MB200, mean_match=100.0, lifetime=1000.0)
    simulation, _, end = simulate(Design("all", actor=50, pull_all=True), fleet, 4000)
    assert simulation.restarts == pytest.approx(4000 * 100 / 1000, rel=0.2)
    assert end.store_bytes == (20 + simulation.restarts) * 50 * MB200
    # whoever keeps all it has met, as far as its life goes, meets each of the 50 once a life at the most
    simulation, _, end = simulate(Design("keeps", actor=50), fleet, 4000)
    assert simulation.restarts > 200 and 50 * 20 * MB200 < end.store_bytes < 4000 * MB200


def test_live_snapshots_cost_the_same_however_many_matches_are_played_with_them():
    from traffic_fleet import Design, Fleet

    design = Design("live", rack=16, live=True)
    moved = []
    for actors in (40, 120):
        fleet = Fleet(actors, actors // 4, MB200)
        simulation, half, end = simulate(design, fleet, actors * 180, [even(50)], refresh=actors * 15)
        # a quarter is drained at one refresh and replaced at the next, unless it is wanted again (4 of 38):
        # 4 racks, 4 places, 6 refreshes
        assert (end.store_bytes - half.store_bytes) / MB200 == pytest.approx(4 * 4 * (34 / 38) * 6 / 2, rel=0.3)
        assert set(simulation.waits) == {0}
        moved.append(end.store_bytes)
    assert moved[1] == pytest.approx(moved[0], rel=0.25)


@pytest.mark.parametrize("spread", ["constant", "exponential", "lognormal"])
def test_durations_have_the_mean_that_was_asked_for(spread):
    from traffic_fleet import Fleet

    drawn = Fleet(1, 1, 4, mean_match=300.0, spread=spread).durations(np.random.default_rng(1))
    assert np.mean([next(drawn) for _ in range(20_000)]) == pytest.approx(300, rel=0.03)


def test_the_replayed_league_is_one():
    from traffic_league import ReplayedLeague, Schedule, Strengths

    strengths = Strengths(gain=2.0, cycle=1.0, turn=0.3)
    old, new = np.array([3.0]), np.array([40.0])
    assert strengths.win(new, old, np.zeros(1)) + strengths.win(old, new, np.zeros(1)) == pytest.approx(1)
    assert Strengths(cycle=0).win(new, old, np.zeros(1)) > 0.9
    # on the circle alone rock beats scissors beats paper beats rock
    cycle = Strengths(gain=0.0, cycle=1.0, turn=2 * np.pi / 3)
    wins = [cycle.win(np.array([a]), np.array([b]), np.zeros(1))[0] for a, b in ((1, 0), (2, 1), (3, 2))]
    assert min(wins) == pytest.approx(max(wins)) and wins[0] > 0.6
    league = ReplayedLeague("pfsp?weighting=squared", Schedule(200, 1000, 20, players=2), strengths, 30, seed=1)
    assert len(league.pool) == 20, "the pool's own rule keeps its limit"
    epochs = league.epochs(2000)
    assert len(epochs) == 10 and epochs[-1].taken == 32
    np.testing.assert_allclose([epoch.probability.sum(axis=1) for epoch in epochs], 1)
    assert set(league.payoff.keys) <= {*league.pool.addresses, "player 0", "player 1"}


def run_of(design: str, actors: int, **fields) -> dict:
    gbit = actors * {"one": 0.005, "all": 0.001 * actors}[design]
    return {
        "design": design, "actors": actors, "matchmaker": "pfsp", "pool": 500, "effective_opponents": 200.0,
        "spread": "lognormal", "store_link": None, "store_bytes_per_match": MB200, "store_gbit": gbit,
        "store_gbit_peak_minute": 2 * gbit, "rack_gbit": 0.0, "wait_mean": 0.0, "wait_p99": 0.0, "match_rate": 1.0,
        "hours": 1.0, **fields,
    }  # fmt: skip


def test_walls_and_totals():
    from league_traffic_report import wall, whole_league

    assert wall([run_of("one", n) for n in (100, 1000)], 10) == pytest.approx(2000)
    assert wall([run_of("one", n) for n in (100, 4000)], 10) == pytest.approx(2000)
    assert wall([run_of("all", n) for n in (100, 1000)], 4000) == pytest.approx(2000), "with the square"
    pools = [run_of("one", 100, pool=size, store_bytes_per_match=size) for size in (10, 500)]
    growing = 10 * 10 * 100 + (10 + 500) / 2 * 490 * 100
    assert whole_league(pools, snapshot=100, matches=60_000) == pytest.approx(growing + 10_000 * 500, rel=1e-3)


def test_report(tmp_path):
    import league_traffic_report

    designs = {name: {"actor": 1, "rack": 0} for name in ("one", "all")}
    by_actors = [run_of(name, actors) for actors in (100, 4000) for name in designs]
    full = by_actors[2:]
    recorded = {
        "settings": {
            "seed": 1, "snapshot_bytes": MB200, "per_rack": 40, "rack_link": 25.0, "scale": 1.0, "designs": designs,
            "schedule": {"snapshot": 50_000, "refresh": 12_500},
        },
        "actors": by_actors,
        "restarts": full,
        "matchmakers": [run_of("one", 4000, matchmaker="uniform")],
        "pools": [run_of(name, 4000, pool=10) for name in designs],
        "links": [run_of(name, 4000, store_link=10.0) for name in designs],
        "spreads": [run_of("one", 4000)],
        "cold": [run_of("one", 4000, series=[20.0] * 30)],
        "check": {
            "run": "a run",
            "tolerance": 0.15,
            "measured": {"bytes moved": 100.0, "matches": 10.0},
            "predicted": {"bytes moved": 80.0, "matches": 20.0},
            "deviation": {"bytes moved": 3.0, "matches": 0.0},
        },
    }  # fmt: skip
    text = league_traffic_report.write(recorded, tmp_path)
    assert "| one | 200 MB | 0 B | 20 | 40 | 0 | 200 MB | 20 | 2,000 | 5,000 | 20,000 |" in text
    assert (
        "| bytes moved | 100 | 80 ± 3 | -20.0 % | yes |" in text and "| matches | 10 | 20 ± 0 | +100.0 % | NO |" in text
    )
    assert "174 days with 4000 actors" in text and "| one | 40 PB | 40 PB |" in text
    assert (tmp_path / "league_traffic.png").stat().st_size > 10_000


def test_a_run_that_is_no_league_is_refused(tmp_path):
    import traffic_check

    (tmp_path / "config.json").write_text('{"env": "native/tic_tac_toe", "algo": "ippo", "seed": 1}')
    (tmp_path / "metrics.jsonl").write_text('{"env_steps": 1, "wall_seconds": 1.0}\n')
    with pytest.raises(UsageError, match="no league run"):
        traffic_check.compare(tmp_path)


def test_with_room_for_the_pool_each_snapshot_is_moved_once():
    import traffic_check

    league = {
        "roles": {"main": "simple"}, "matchmaker": "pfsp", "self_play": 0.35, "snapshot_env_steps": 20_000,
        "live_snapshots": 16, "pool_size": 50, "payoff_decay": 1.0,
    }  # fmt: skip
    found = traffic_check.predict(league, 64, 3, 213_500, length=7.0, interval=21_000, size=400, seed=1)
    assert found == {"matches": 30_500, "bytes moved": 10 * 400, "bytes if all pulled": 3 * 10 * 400}
    few = traffic_check.predict(league | {"live_snapshots": 4}, 64, 3, 213_500, 7.0, 21_000, 400, seed=1)
    # the fifth snapshot has no place left at the 20th of 41 refreshes; from there one of four is drained at one refresh
    # and, unless it is wanted again, replaced at the next
    assert 7 * 400 <= few["bytes moved"] <= (4 + 21 / 2 + 1) * 400


@pytest.mark.slow
def test_a_real_run_is_predicted(tmp_path):
    import traffic_check

    from sfmarl.algorithms.ppo import Hyperparameters
    from sfmarl.config import Config, LeagueConfig
    from sfmarl.run.runner import train

    league = LeagueConfig(snapshot_env_steps=6000, snapshot_win_rate=1.0, live_snapshots=3)
    result = train(
        Config(
            env="native/tic_tac_toe", algo="ippo", hp=Hyperparameters(critic="own", hidden=(16,), epochs=1),
            league=league, env_steps=80_000, mode="serial", num_workers=1, num_envs_per_worker=32, rollout=8,
            eval_env_steps=0, final_eval_episodes=0, log_seconds=0.5, quiet=True, run_dir=tmp_path / "run",
        )
    )  # fmt: skip
    compared = traffic_check.compare(result.run_dir)
    for name, measured in compared["measured"].items():
        room = compared["tolerance"] * measured + 3 * compared["deviation"][name]
        assert compared["predicted"][name] == pytest.approx(measured, abs=room)
