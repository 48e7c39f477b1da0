"""Invariants of turn-based environments: lanes of one agent each, rewards out of turn, agents that never move."""

from __future__ import annotations

import numpy as np
import pytest
from harness import act, act_frozen, acted_rows, check_rows, collect, make_plane
from script import spec
from scripted_turns import ScriptedTurnEnv, earned

from sfmarl.envs.turns import Turn
from sfmarl.workers.seating import HomeSeating, frozen
from sfmarl.workers.turns import TurnSplit

ENVS = 3


def make(team_sizes, rollout, seed=0, sync=False, max_policy_lag=1000, seating=None, ring=2, quiet_agent=None):
    env_spec = spec(team_sizes, turn_based=True, state=True)
    envs = [ScriptedTurnEnv(env_spec, e, seed, quiet_agent) for e in range(ENVS)]
    plane = make_plane(env_spec, ENVS, rollout, ring=ring, frozen_seats=seating is not None)
    blocks = plane.blocks()
    weights = [plane.weights(p) for p in range(plane.spec.policies)]
    scratch = plane.scratch(0, 0)
    split = TurnSplit(envs, blocks, 0, weights, max_policy_lag, sync, seating, scratch)
    return split, blocks, envs, plane, scratch


def play(split, blocks, steps, scratch=(), learner_period=1, on_step=lambda count: None):
    slots = []
    for count in range(steps):
        on_step(count)
        if split.advance():
            act(blocks, version=1 + count)
            act_frozen(scratch)
            split.step()
        if count % learner_period == 0:
            slots += collect(blocks)
    return slots + collect(blocks)


def check_against_history(slots, envs, lanes_of, skip_last=2, learning=lambda episode, agent, env: True):
    """Every move that was made in a finished, published episode is one active row with the reward up to the next."""
    rows = acted_rows(slots)
    checked = 0
    for env in envs:
        for episode, moves in enumerate(env.history[:-skip_last]):
            for agent in range(lanes_of):
                clocks = [clock for mover, clock in moves if mover == agent]
                got = rows.get((env.env, episode, agent), {})
                if not learning(episode, agent, env.env):
                    assert not got
                    continue
                if not set(clocks) <= set(got) and episode >= len(env.history) - 12:
                    continue  # still in a slot that is being filled
                assert sorted(got) == clocks
                for at, following in zip(clocks, [*clocks, len(moves)][1:], strict=True):
                    slot, t, _ = got[at]
                    assert slot.reward[t, 0] == earned(env.env, episode, agent, at, following)
                    assert slot.is_first[t, 0] == (at == clocks[0])
                    ends = following == len(moves)
                    truncated = bool(slot.truncated[t, 0])
                    assert bool(slot.terminated[t, 0]) == (ends and not truncated)
                    assert truncated <= ends
                    np.testing.assert_array_equal(slot.state[t], (episode, at))
                    checked += 1
    return checked


@pytest.mark.parametrize("rollout", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("team_sizes", [(1, 1), (2, 2)])
def test_every_turn_is_a_row_with_its_reward(rollout, team_sizes):
    split, blocks, envs, _, _ = make(team_sizes, rollout, seed=rollout)
    slots = play(split, blocks, 600)
    check_rows(slots, check_reward=False)
    assert check_against_history(slots, envs, sum(team_sizes)) > 500


def test_truncated_games_bootstrap_from_the_final_observation():
    """The successor of a cut step is the final observation; the phantom row after it is nobody's."""
    split, blocks, envs, _, _ = make((1, 1), 3)
    cut = 0
    for slot in play(split, blocks, 400):
        for t in range(3):
            if slot.truncated[t, 0]:
                env, episode, _, agent, moved = slot.obs[t, 0]
                final = slot.obs[t + 1, 0]
                assert final[2] == len(envs[int(env)].history[int(episode)])
                assert final.tolist()[3:] == [agent, moved + 1]
                assert not slot.active[t + 1, 0]
                cut += 1
    assert cut > 20


def test_an_agent_that_never_moves_gives_its_reward_to_the_metrics_alone():
    split, blocks, envs, _, _ = make((1, 1), 4, quiet_agent=1)
    slots = play(split, blocks, 300)
    assert check_against_history(slots, envs, 2) > 100
    returns, lengths, *_ = split.episodes.drain()
    assert len(returns) == sum(len(env.history) - 1 for env in envs)
    assert lengths.sum() == sum(len(moves) for env in envs for moves in env.history[:-1])
    total = sum(
        earned(env.env, episode, 1, 0, len(moves)) for env in envs for episode, moves in enumerate(env.history[:-1])
    )
    assert returns[:, 1].sum() == total


def test_rare_lanes_are_closed_short_before_they_are_too_old():
    """A lane that acts rarely publishes before its oldest step exceeds the largest lag, padded and inactive."""
    split, blocks, _envs, plane, _ = make((1, 1), 64, max_policy_lag=20)
    weights = [plane.weights(p) for p in range(2)]

    def publish(count):
        for store in weights:
            store.publish(np.zeros(3, np.float32), count + 1)

    slots = play(split, blocks, 300, on_step=publish)
    assert slots
    for slot in slots:
        versions = slot.policy_version[slot.policy_version >= 0]
        assert versions.size < 64 and versions.max() - versions.min() <= 20
        used = versions.size + int(slot.truncated.sum())  # every truncation spends a phantom step
        assert not slot.active[used:].any()
    check_rows(slots, check_reward=False)


def test_sync_waits_for_every_lane_and_lag_is_zero():
    """In sync mode each lane contributes exactly one slot per update, all acted by one version."""
    split, blocks, _, _, _ = make((2, 2), 6, sync=True, quiet_agent=3)
    lanes = sum(block.spec.lanes for block in blocks)
    for version in range(1, 12):
        for _ in range(300):
            if not split.advance():
                break
            act(blocks, version)
            split.step()
        slots = collect(blocks)
        assert len(slots) == lanes == len({(slot.block.spec.seat, slot.lane) for slot in slots})
        for slot in slots:
            assert set(slot.policy_version[:, None][slot.active[:-1]].ravel()) <= {version}
        check_rows(slots, check_reward=False)


class Alternating:
    """White and black swap at every episode; at every third the second seat is a frozen player's."""

    identity = None
    generators = ()

    def __init__(self):
        self.drawn = {}

    def draw(self, env):
        history = self.drawn.setdefault(env, [])
        history.append(((0, 1), (1, 0), (frozen(0), 0))[len(history) % 3])
        return history[-1]


@pytest.mark.parametrize("rollout", [1, 3, 7])
def test_slots_follow_their_player_through_seat_swaps(rollout):
    seating = Alternating()
    split, blocks, envs, _, scratch = make((2, 2), rollout, seed=rollout, seating=seating)
    slots = play(split, blocks, 500, scratch)
    check_rows(slots, check_reward=False)

    def learning(episode, agent, env):
        return seating.drawn[env][episode][agent // 2] >= 0

    assert check_against_history(slots, envs, 4, learning=learning) > 300
    for slot in slots:
        for t in np.flatnonzero(slot.active[:-1, 0]):
            env, episode, _, agent, _ = (int(x) for x in slot.obs[t, 0])
            assert seating.drawn[env][episode][agent // 2] == slot.block.spec.seat
            assert slot.lane == env * 2 + agent % 2


class Reborn(ScriptedTurnEnv):
    """The agent of seat 1 dies after its move and comes back in the same episode."""

    def reset(self, seed=None):
        super().reset(seed)
        self.moves, self.passing = [0, 1, 1, 0, 1], []
        self.dying = False

    def turn(self):
        if self.dying:
            return Turn(1, 0, 0.0, True, False)
        return super().turn()

    def act(self, action):
        if self.dying:
            assert action is None
            self.dying = False
            return
        self.dying = self.clock == 2
        super().act(action)


def test_a_frozen_player_that_comes_back_begins_a_new_life():
    """What its policy remembers of the last one is to be forgotten."""
    env_spec = spec((1, 1), turn_based=True, state=True)
    plane = make_plane(env_spec, 1, 8, policies=(0, -1))
    blocks, (scratch,) = plane.blocks(), plane.scratch(0, 0)
    split = TurnSplit([Reborn(env_spec, 0)], blocks, 0, [plane.weights(0)], 99, seating=HomeSeating((0, frozen(0))),
                      scratch=[scratch])  # fmt: skip
    seen = []
    for _ in range(5):
        split.advance()
        if scratch.active[0, 0]:
            seen.append(bool(scratch.is_first[0, 0]))
        act(blocks)
        act_frozen([scratch])
        split.step()
    assert seen == [True, False, True]


def test_agent_steps_count_learning_moves_only():
    seating = Alternating()
    split, blocks, envs, _, scratch = make((1, 1), 4, seating=seating)
    play(split, blocks, 200, scratch)
    moves = [
        (seating.drawn[env.env][episode][agent], 1)
        for env in envs
        for episode, played in enumerate(env.history)
        for agent, _ in played
    ]
    assert split.env_steps == len(moves)
    assert split.agent_steps == sum(player >= 0 for player, _ in moves)


@pytest.mark.parametrize("slow", [0, 1])
def test_sync_waits_for_every_policy_of_an_env(slow):
    """Two policies, one slow to learn: the other is not fed with slots in which nothing happened."""
    split, blocks, _, _, _ = make((1, 1), 6, sync=True)
    for version in range(1, 10):
        for _ in range(300):
            if not split.advance():
                break
            act(blocks, version)
            split.step()
        quick = collect([blocks[1 - slow]])
        assert len(quick) == ENVS and all(slot.active.any() for slot in quick)
        for _ in range(5):
            assert not split.advance()
        assert not collect([blocks[1 - slow]])
        assert len(collect([blocks[slow]])) == ENVS


def test_sync_begins_no_episode_that_the_due_update_would_not_see():
    """An env whose episode ended with its slot is reset only after the update: a checkpoint then loses nothing."""
    split, blocks, envs, _, _ = make((1, 1), 1, sync=True)
    for _ in range(40):
        while split.advance():
            act(blocks)
            split.step()
        before = [env.episode for env in envs]
        over = [env.turn() is None for env in envs]
        collect(blocks)
        assert split.advance()
        for env, was, ended in zip(envs, before, over, strict=True):
            assert env.episode >= was + ended


def test_a_new_life_asks_for_nothing_its_predecessor_asked_for():
    split, blocks, envs, plane, _ = make((2,), 4)
    assert split.advance() and blocks[0].wants_action.any()
    TurnSplit(envs, blocks, 1, [plane.weights(0)], 1000)
    assert not blocks[0].wants_action.any()


def test_nothing_begins_before_the_first_advance():
    """Streams can be restored until then; the seeds go to the first resets."""
    env_spec = spec((1, 1), turn_based=True, state=True)
    envs = [Seeded(env_spec, e) for e in range(2)]
    plane = make_plane(env_spec, 2, 4)
    split = TurnSplit(envs, plane.blocks(), 0, [plane.weights(p) for p in range(2)], 1000, seeds=[7, 8])
    assert [env.seeds for env in envs] == [[], []]
    assert split.generator_states() == [{"at": 0}, {"at": 1}]
    split.restore_generators([{"at": 5}, None])
    play(split, plane.blocks(), 100)
    assert [env.seeds[0] for env in envs] == [7, 8]
    assert all(set(env.seeds[1:]) == {None} for env in envs)
    assert [env.restored for env in envs] == [{"at": 5}, None]


class Seeded(ScriptedTurnEnv):
    """Remembers the seeds it was reset with, and what its generator was restored to."""

    def __init__(self, env_spec, env):
        super().__init__(env_spec, env)
        self.seeds, self.restored = [], "nothing"

    def reset(self, seed=None):
        self.seeds.append(seed)
        super().reset()

    def generator_state(self):
        return {"at": self.env}

    def restore_generator(self, state):
        self.restored = state
