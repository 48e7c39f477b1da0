"""What slots hold when environments fail: the rows that are known to be true, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from failing import (
    FailingCopies,
    FailingGames,
    FailingTurns,
    FailingWhole,
    Moves,
    guarded_games,
    guarded_turns,
    guarded_whole,
)
from harness import act, act_frozen, acted_rows, check_rows, collect, make_plane
from script import script, spec
from scripted_games import History
from scripted_turns import earned
from test_lockstep import Rotating
from test_lockstep import play as play_lockstep
from test_turns import Alternating
from test_turns import play as play_turns

from sfmarl.workers.lockstep import LockstepSplit
from sfmarl.workers.routing import HomeRoute, SeatRoute
from sfmarl.workers.turns import TurnSplit
from sfmarl.workers.vector_turns import VectorTurnSplit

ENVS = 4


def lockstep(kind, team_sizes, rollout, seating=None, masked_death=False, **more):
    """Return (split, blocks, scripted env, scratch)."""
    env = kind(spec(team_sizes, state=True), ENVS, seed=rollout)
    plane = make_plane(env.spec, ENVS, rollout, frozen_seats=seating is not None, masked_death=masked_death)
    blocks, scratch = plane.blocks(), plane.scratch(0, 0)
    route = HomeRoute(blocks) if seating is None else SeatRoute(blocks, scratch, seating)
    guarded = guarded_whole(env) if kind is FailingWhole else env
    return LockstepSplit(guarded, blocks, route, generation=0, **more), blocks, env, scratch


def check_broken(slots, env, rollout, seating=None):
    """Compare all rows with the script, up to the step in which an episode broke off; return where that was, in t."""
    rows, agents, places = acted_rows(slots), env.spec.num_agents, set()
    for e in range(ENVS):
        for episode in range(int(env.episode[e]) - 6):
            plan = script(e, episode, agents, env.seed, env.deaths)
            fatal = env.broken.get((e, episode))
            stop = plan.length if fatal is None else fatal
            for agent in range(agents):
                plays = seating is None or seating.drawn[e][episode][agent // 2] >= 0
                expected = [k for k in range(stop) if plays and plan.alive(agent, k)]
                got = rows.get((e, episode, agent), {})
                assert sorted(got) == expected
                for k in expected:
                    slot, t, a = got[k]
                    last, dies = k + 1 == plan.length, not plan.alive(agent, k + 1)
                    broke_off = k + 1 == fatal and not dies
                    assert slot.terminated[t, a] == (dies and not (last and plan.truncated))
                    if broke_off:
                        places.add((t + 1) % rollout)
                        if t + 1 == rollout and isinstance(env, FailingWhole):
                            continue  # a reset of others may fail before or after this slot is published: it is one
                    cut = broke_off and t + 1 < rollout
                    assert slot.truncated[t, a] == (cut or (last and plan.truncated))
    return places


def check_clean(slots):
    """Rows of nobody hold no garbage, and every number is finite."""
    for slot in slots:
        steps = slot.reward.shape[0]
        for name in ("obs", "reward", "log_prob", "state"):
            assert np.isfinite(getattr(slot, name)).all()
        nobody = ~slot.active[:steps]
        if slot.block.in_return is not None:
            nobody &= ~slot.in_return[:steps]
        if slot.block.in_return is None:
            assert not slot.reward[nobody].any()  # else rewards are pooled over all rows
        assert not (slot.terminated | slot.truncated)[nobody].any()
        if slot.block.spec.lockstep:
            assert not slot.is_first[~slot.active].any()
        assert slot.action_mask.any(axis=-1).all()


@pytest.mark.parametrize("kind", [FailingCopies, FailingWhole])
@pytest.mark.parametrize(("rollout", "team_sizes"), [(1, (3,)), (2, (1, 2)), (5, (1, 2)), (8, (3,))])
def test_a_broken_episode_ends_before_the_step_that_failed(kind, rollout, team_sizes):
    """At every t of a slot: the step is nobody's, the one before it is truncated, a new episode follows."""
    split, blocks, env, _ = lockstep(kind, team_sizes, rollout)
    slots, _ = play_lockstep(split, blocks, 200)
    check_rows(slots)
    check_clean(slots)
    assert check_broken(slots, env, rollout) == set(range(rollout))
    assert len(env.broken) > 40
    assert kind is FailingCopies or set(env.happened) == set(env.KINDS)


@pytest.mark.parametrize("kind", [FailingCopies, FailingWhole])
@pytest.mark.parametrize("rollout", [1, 5])
def test_slots_follow_their_player_when_episodes_break_off(kind, rollout):
    """A new match is drawn for every episode that begins."""
    seating = Rotating()
    split, blocks, env, scratch = lockstep(kind, (2, 2), rollout, seating)
    slots, _ = play_lockstep(split, blocks, 200, scratch)
    check_rows(slots)
    check_clean(slots)
    # a reset that is tried again does not draw again, and the episodes of failed resets have a number in the script
    if kind is FailingCopies:
        assert [len(seating.drawn[e]) for e in range(ENVS)] == (env.episode + 1).tolist()
        check_broken(slots, env, rollout, seating)
    assert len(env.broken) > 30


@pytest.mark.parametrize("kind", [FailingCopies, FailingWhole])
def test_broken_episodes_are_counted_nowhere(kind):
    """Env-steps, agent-steps and episodes are those whose outcome is known."""
    split, blocks, env, _ = lockstep(kind, (3,), 5)
    slots, _ = play_lockstep(split, blocks, 150)
    last = env.episode.tolist()
    known = {(e, k): env.broken.get((e, k), script(e, k, 3, env.seed).length)
             for e in range(ENVS) for k in range(last[e])}  # fmt: skip
    running = sum(env.broken.get((e, last[e]), int(env.step_of[e])) for e in range(ENVS))
    assert split.env_steps == sum(known.values()) + running
    assert split.agent_steps == pytest.approx(sum(int(slot.active[:-1].sum()) for slot in slots), abs=5 * ENVS * 3)
    finished = split.episodes.drain()
    lengths = {(e, k): script(e, k, 3, env.seed).length for e in range(ENVS) for k in range(last[e] + 1)}
    waiting = [(e, k) for e, k in enumerate(last) if lengths[e, k] == env.step_of[e]]  # over, not reset yet
    whole = [lengths[at] for at in (*known, *waiting) if at not in env.broken]
    assert sorted(finished.lengths.tolist()) == sorted(whole)


@pytest.mark.parametrize("kind", [FailingCopies, FailingWhole])
def test_returns_of_the_dead_break_off_too(kind):
    """Masked death: the dead of a broken episode are bootstrapped like the living, and haunt no later one."""
    split, blocks, env, _ = lockstep(kind, (3,), 6, masked_death=True, team_reward="sum")
    slots, _ = play_lockstep(split, blocks, 300)
    check_clean(slots)
    ghosts = 0
    for slot in slots:
        for t in range(6):
            if not slot.in_return[t].any():
                continue
            assert slot.active[t, 0], "agent 0 lives throughout: without it nobody is in this row"
            e, k, s = (int(x) for x in slot.obs[t, 0, :3])
            if env.broken.get((e, k)) == s + 1 and t + 1 < 6:
                assert slot.truncated[t][slot.in_return[t]].all() and not slot.in_return[t + 1].any()
                ghosts += 1
    assert ghosts > 2


def turn_rows(slots, history, broken, skip, agents, learning=lambda episode, agent, env: True):
    """Compare every row with the moves that were made; return (rows checked, steps t whose rows broke off)."""
    rows, checked, places = acted_rows(slots), 0, set()
    for games in history:
        for episode, moves in enumerate(games.history[:-skip]):
            closed = broken.get((games.env, episode))
            for agent in range(agents):
                clocks = [clock for mover, clock in moves if mover == agent]
                given_up = closed is not None and agent not in closed
                known = clocks[:-1] if given_up else clocks
                got = rows.get((games.env, episode, agent), {})
                if not learning(episode, agent, games.env):
                    assert not got
                    continue
                assert sorted(got) == known
                for number, at in enumerate(known):
                    slot, t, _ = got[at]
                    assert slot.is_first[t, 0] == (number == 0)
                    if number + 1 < len(clocks):
                        assert slot.reward[t, 0] == earned(games.env, episode, agent, at, clocks[number + 1])
                        cut = given_up and number + 1 == len(known) and t + 1 < slot.block.spec.rollout
                        assert slot.truncated[t, 0] == cut and not slot.terminated[t, 0]
                        if given_up and number + 1 == len(known):
                            places.add((t + 1) % slot.block.spec.rollout)
                    checked += 1
    return checked, places


@pytest.mark.parametrize(("rollout", "team_sizes"), [(1, (2, 2)), (2, (1, 1)), (5, (2, 2))])
def test_turns_whose_outcome_is_unknown_are_taken_back(rollout, team_sizes):
    env_spec, moves = spec(team_sizes, turn_based=True, state=True), Moves()
    games = [FailingTurns(env_spec, e, rollout, moves=moves) for e in range(ENVS)]
    plane = make_plane(env_spec, ENVS, rollout)
    blocks = plane.blocks()
    weights = [plane.weights(p) for p in range(2)]
    split = TurnSplit([guarded_turns(env) for env in games], blocks, 0, weights, 1000)
    slots = play_turns(split, blocks, 400)
    check_rows(slots, check_reward=False)
    check_clean(slots)
    checked, places = turn_rows(slots, games, moves.broken, 20, sum(team_sizes))
    assert checked > 100 and places == set(range(rollout)) and set(moves.happened) == set(FailingTurns.KINDS)
    steps = sum(len(of_episode) for env in games for of_episode in env.history)
    assert split.env_steps == steps - sum(bool(games[e].history[k]) for e, k in moves.broken)
    assert split.agent_steps <= sum(int(slot.active[:-1].sum()) for slot in slots) + rollout * ENVS * sum(team_sizes)
    finished = split.episodes.drain()
    assert len(finished.lengths) == sum(
        (env.env, k) not in moves.broken for env in games for k in range(len(env.history) - 1)
    )


@pytest.mark.parametrize("rollout", [1, 4])
def test_turns_of_the_other_players_are_taken_back_as_well(rollout):
    env_spec, moves, seating = spec((2, 2), turn_based=True, state=True), Moves(), Alternating()
    kinds = tuple(kind for kind in FailingTurns.KINDS if kind != "reset")
    games = [FailingTurns(env_spec, e, rollout, moves=moves, kinds=kinds) for e in range(ENVS)]
    plane = make_plane(env_spec, ENVS, rollout, frozen_seats=True)
    blocks, scratch = plane.blocks(), plane.scratch(0, 0)
    weights = [plane.weights(p) for p in range(2)]
    split = TurnSplit([guarded_turns(env) for env in games], blocks, 0, weights, 1000, False, seating, scratch)
    slots = play_turns(split, blocks, 400, scratch)
    check_rows(slots, check_reward=False)

    def learning(episode, agent, env):
        return seating.drawn[env][episode][agent // 2] >= 0

    checked, _ = turn_rows(slots, games, moves.broken, 20, 4, learning)
    assert checked > 30 and len(moves.broken) > 20


@pytest.mark.parametrize(("rollout", "seats"), [(1, 2), (2, 3), (5, 2)])
def test_a_native_game_breaks_off_in_all_its_copies(rollout, seats):
    env_spec, moves = spec((1,) * seats, turn_based=True, state=True), Moves()
    games = FailingGames(env_spec, range(ENVS), rollout, moves=moves, rate=0.02)
    plane = make_plane(env_spec, ENVS, rollout)
    blocks = plane.blocks()
    weights = [plane.weights(p) for p in range(seats)]
    split = VectorTurnSplit(guarded_games(games), blocks, 0, weights, 1000)
    slots = play_turns(split, blocks, 400)
    check_rows(slots, check_reward=False)
    check_clean(slots)
    histories = [History(games, e) for e in range(ENVS)]
    checked, places = turn_rows(slots, histories, moves.broken, 25, seats)
    assert checked > 100 and places == set(range(rollout)) and set(moves.happened) == set(FailingGames.KINDS)


@pytest.mark.parametrize("make", ["turns", "games"])
def test_sync_gets_one_slot_of_every_lane_though_games_fail(make):
    """Each lane contributes exactly once per update, acted by one version, however often games break off."""
    env_spec, moves = spec((1, 1), turn_based=True, state=True), Moves()
    plane = make_plane(env_spec, ENVS, 6)
    blocks, weights = plane.blocks(), [plane.weights(p) for p in range(2)]
    if make == "turns":
        envs = [guarded_turns(FailingTurns(env_spec, e, 3, moves=moves)) for e in range(ENVS)]
        split = TurnSplit(envs, blocks, 0, weights, 1000, sync=True)
    else:
        games = guarded_games(FailingGames(env_spec, range(ENVS), 3, moves=moves, rate=0.03, also_over=True))
        split = VectorTurnSplit(games, blocks, 0, weights, 1000, sync=True)
    lanes = sum(block.spec.lanes for block in blocks)
    for version in range(1, 20):
        for _ in range(300):
            if not split.advance():
                break
            act(blocks, version)
            act_frozen([])
            split.step()
        slots = collect(blocks)
        assert len(slots) == lanes == len({(slot.block.spec.seat, slot.lane) for slot in slots})
        for slot in slots:
            assert set(slot.policy_version[:, None][slot.active[:-1]].ravel()) <= {version}
        check_rows(slots, check_reward=False)
        check_clean(slots)
    assert len(moves.happened) > 10
