"""Games stepped together fill the slots that the same games would fill one by one, field by field."""

from __future__ import annotations

import numpy as np
import pytest
from harness import FIELDS, act, act_frozen, check_rows, collect, make_plane
from script import choice, spec
from scripted_games import History, ScriptedGames
from test_turns import Alternating, check_against_history

from sfmarl.envs.turn_copy import TurnCopy
from sfmarl.workers.seating import HomeSeating, frozen
from sfmarl.workers.shaping import REWARDS, Shaping, register_reward
from sfmarl.workers.turns import TurnSplit
from sfmarl.workers.vector_turns import VectorTurnSplit

ENVS = 4


class Twins:
    """The same games in a split that steps them one by one, and in one that steps them together."""

    def __init__(
        self, seats, rollout, seed=0, sync=False, lag=1000, ring=2, seating=None, quiet=None, reward="", **more
    ):
        self.spec = spec((1,) * seats, turn_based=True, state=True)
        self.games = ScriptedGames(self.spec, range(ENVS), seed, quiet)
        self.copies = [TurnCopy(lambda _, e=e: ScriptedGames(self.spec, [e], seed, quiet)) for e in range(ENVS)]
        more = {"frozen_seats": seating is not None} | more
        self.planes = [make_plane(self.spec, ENVS, rollout, ring=ring, **more) for _ in range(2)]
        self.blocks = [plane.blocks() for plane in self.planes]
        self.scratch = [plane.scratch(0, 0) for plane in self.planes]
        self.settings = (lag, sync)
        self.seatings = [seating() if seating else None for _ in range(2)]
        self.reward = reward
        self.slots = []
        self.begin_life(0)

    def begin_life(self, generation):
        self.splits = []
        for index, (kind, games) in enumerate(((TurnSplit, self.copies), (VectorTurnSplit, self.games))):
            plane, blocks = self.planes[index], self.blocks[index]
            weights = [plane.weights(p) for p in range(plane.spec.policies)]
            for block in blocks:
                block.slots.discard_filling()
            shaping = [Shaping(self.reward, block) for block in blocks] if self.reward else []
            self.splits.append(
                kind(games, blocks, generation, weights, *self.settings, seating=self.seatings[index],
                     scratch=self.scratch[index], shaping=shaping)
            )  # fmt: skip

    def advance(self):
        one, together = (split.advance() for split in self.splits)
        assert one == together
        assert self.splits[0].starving() == self.splits[1].starving()
        for alone, beside in zip(*self.blocks, strict=True):
            np.testing.assert_array_equal(alone.wants_action, beside.wants_action)
        return one

    def step(self, version):
        for split, blocks, scratch in zip(self.splits, self.blocks, self.scratch, strict=True):
            act(blocks, version)
            act_frozen(scratch)
            split.step()
        a, b = self.splits
        assert (a.env_steps, a.agent_steps) == (b.env_steps, b.agent_steps)

    def learn(self):
        """Take what is READY on both sides and compare it."""
        mine = [{(s.block.spec.seat, s.lane, s.number): s for s in collect(blocks)} for blocks in self.blocks]
        assert mine[0].keys() == mine[1].keys()
        for key, one in mine[0].items():
            together = mine[1][key]
            assert one.fields.keys() == together.fields.keys()
            for name in one.fields:
                np.testing.assert_array_equal(one.fields[name], together.fields[name], err_msg=f"{name} of {key}")
        for alone, beside in zip(*self.blocks, strict=True):
            np.testing.assert_array_equal(alone.slots.generation, beside.slots.generation)
            np.testing.assert_array_equal(alone.slots.state, beside.slots.state)
        self.slots += mine[1].values()
        return len(mine[1])

    def play(self, steps, period=1, on_step=lambda count: None):
        for count in range(steps):
            on_step(count)
            if self.advance():
                self.step(1 + count)
            if count % period == 0:
                self.learn()
        self.learn()
        check_rows(self.slots, check_reward=False)
        one, together = (split.episodes.drain() for split in self.splits)
        for a, b in zip(one[:3], together[:3], strict=True):
            if a is not None:
                np.testing.assert_array_equal(np.sort(a, axis=0), np.sort(b, axis=0))

    def histories(self):
        return [History(self.games, e) for e in range(ENVS)]


@pytest.mark.parametrize(("seats", "rollout"), [(2, 1), (2, 3), (2, 8), (3, 1), (3, 2), (3, 5)])
def test_every_turn_is_the_row_it_would_be_alone(seats, rollout):
    """Many short episodes, ends and truncations at every step of a slot, rings that wrap around."""
    twins = Twins(seats, rollout, seed=rollout)
    twins.play(150)
    assert check_against_history(twins.slots, twins.histories(), seats) > 150
    assert sum(slot.truncated.sum() for slot in twins.slots) > 20


@pytest.mark.parametrize(("ring", "period"), [(2, 11), (3, 17), (2, 40)])
def test_back_pressure_parks_the_same_envs(ring, period):
    twins = Twins(3, 3, ring=ring)
    twins.play(120, period)
    assert twins.splits[1].env_steps < 120 * ENVS


def test_a_seat_that_never_moves_gives_its_reward_to_the_metrics_alone():
    twins = Twins(3, 4, quiet=1)
    twins.play(100)
    assert check_against_history(twins.slots, twins.histories(), 3) > 100


@pytest.mark.parametrize("seats", [2, 3])
@pytest.mark.parametrize("rollout", [1, 4])
def test_slots_follow_their_player_through_seat_swaps(seats, rollout):
    class Swapping(Alternating):
        def draw(self, env):
            players = super().draw(env)
            drawn = (*players, 2) if seats == 3 else players
            self.drawn[env][-1] = drawn
            return drawn

    twins = Twins(seats, rollout, seating=Swapping)
    twins.play(120)
    drawn = twins.seatings[1].drawn

    def learning(episode, seat, env):
        return drawn[env][episode][seat] >= 0

    assert check_against_history(twins.slots, twins.histories(), seats, learning=learning) > 80
    for slot in twins.slots:
        for t in np.flatnonzero(slot.active[:-1, 0]):
            env, episode, _, seat, _ = (int(x) for x in slot.obs[t, 0])
            assert (slot.lane, slot.block.spec.seat) == (env, drawn[env][episode][seat])


def test_frozen_seats_are_asked_from_scratch_rows():
    """Who plays them, that their first move of an episode is marked, and what a script sees."""
    twins = Twins(2, 4, seating=lambda: HomeSeating((0, frozen(0))), policies=(0, -1), frozen_seats=False)
    for count in range(60):
        assert twins.advance()
        (alone,), (beside,) = twins.scratch
        np.testing.assert_array_equal(alone.active, beside.active)
        np.testing.assert_array_equal(alone.player, beside.player)
        waits = beside.active
        np.testing.assert_array_equal(alone.is_first[waits], beside.is_first[waits])
        np.testing.assert_array_equal(alone.obs[waits], beside.obs[waits])
        np.testing.assert_array_equal(alone.action_mask[waits], beside.action_mask[waits])
        twins.step(1 + count)
        twins.learn()
    assert 0 < twins.splits[1].agent_steps < twins.splits[1].env_steps


class Script:
    """Acts as the stand-in policy does; remembers how many rows it was shown at once."""

    def __init__(self):
        self.rows, self.generator = [], np.random.default_rng(3)

    def act(self, obs, action_mask, agent_index):
        assert obs.shape[:2] == action_mask.shape[:2] == agent_index.shape == (len(obs), 1)
        self.rows.append(len(obs))
        return choice(obs), None


def test_a_script_acts_for_all_its_envs_at_once():
    env_spec = spec((1, 1), turn_based=True, state=True)
    games, script = ScriptedGames(env_spec, range(ENVS)), Script()
    plane = make_plane(env_spec, ENVS, 4, policies=(0, -1))
    blocks, seating = plane.blocks(), HomeSeating((0, frozen(0)))
    split = VectorTurnSplit(games, blocks, 0, [plane.weights(0)], 99, seating=seating, scratch=plane.scratch(0, 0),
                            scripts={(0, 1): script})  # fmt: skip
    slots = []
    for count in range(100):
        assert split.advance()
        act(blocks, 1 + count)
        split.step()
        slots += collect(blocks)
    check_rows(slots, check_reward=False)
    assert max(script.rows) > 1 and sum(script.rows) == split.env_steps - split.agent_steps
    states = split.generator_states()
    assert states[:ENVS] == [None] * ENVS and states[ENVS]["bit_generator"] == "PCG64"
    first = script.generator.random()
    split.restore_generators(states)
    assert script.generator.random() == first


def test_rare_lanes_are_closed_short_before_they_are_too_old():
    twins = Twins(2, 64, lag=20)

    def publish(count):
        for plane in twins.planes:
            for policy in range(2):
                plane.weights(policy).publish(np.zeros(3, np.float32), count + 1)

    twins.play(150, on_step=publish)
    assert len(twins.slots) > 15
    for slot in twins.slots:
        versions = slot.policy_version[slot.policy_version >= 0]
        assert versions.size < 64 and versions.max() - versions.min() <= 20


@pytest.mark.parametrize("slow", [None, 0, 1])
@pytest.mark.parametrize("rollout", [1, 6])
def test_sync_waits_for_every_lane(rollout, slow):
    """Each lane contributes one slot per update; with two policies, the quick one is not fed while one is slow."""
    twins = Twins(2, rollout, sync=True, quiet=1)
    lanes = sum(block.spec.lanes for block in twins.blocks[1])
    for version in range(1, 8):
        for _ in range(300):
            if not twins.advance():
                break
            twins.step(version)
        if slow is not None:
            for blocks in twins.blocks:
                assert len(collect([blocks[1 - slow]])) == ENVS
            assert not twins.advance()
        before = len(twins.slots)
        twins.learn()
        new = twins.slots[before:]
        assert len(new) == (lanes if slow is None else ENVS) == len({(s.block.spec.seat, s.lane) for s in new})
        for slot in new:
            assert set(slot.policy_version[:, None][slot.active[:-1]].ravel()) <= {version}


def test_a_new_life_goes_on_behind_what_the_last_one_published():
    twins = Twins(2, 3, ring=3)
    for generation in range(1, 6):
        for count in range(10 + generation):
            if twins.advance():
                twins.step(1 + count)
            if count % 4 == 0:
                twins.learn()
        assert twins.advance() and twins.blocks[1][0].wants_action.any() | twins.blocks[1][1].wants_action.any()
        twins.begin_life(generation)
        assert not any(block.wants_action.any() for block in twins.blocks[1])
    twins.play(50)
    assert {int(g) for block in twins.blocks[1] for g in block.slots.generation.ravel()} >= {5}


def test_shaping_sees_what_it_would_see_alone(monkeypatch):
    monkeypatch.setattr(REWARDS, "_values", {})
    register_reward("clock", lambda transition: 100 * transition.obs[..., 2] + transition.next_obs[..., 2])
    twins = Twins(2, 4, seating=Alternating, reward="clock")
    twins.play(60)
    assert sum(slot.reward.sum() for slot in twins.slots) > 1000


class Streams(ScriptedGames):
    """Says where its random streams are."""

    def generator_states(self):
        return [{"at": e} for e in self.envs]

    def restore_generators(self, states):
        self.restored = states


def test_nothing_begins_before_the_first_advance():
    """Streams can be restored until then."""
    env_spec = spec((1, 1), turn_based=True, state=True)
    games, plane = Streams(env_spec, range(2)), make_plane(env_spec, 2, 4)
    split = VectorTurnSplit(games, plane.blocks(), 0, [plane.weights(p) for p in range(2)], 99)
    assert (games.episode == -1).all()
    assert split.generator_states() == [{"at": 0}, {"at": 1}]
    split.restore_generators([{"at": 5}, None])
    assert games.restored == [{"at": 5}, None]
    assert split.advance() and (games.episode == 0).all()


def test_fields_are_all_compared():
    assert set(FIELDS) >= {"obs", "state", "action_mask", "reward", "policy_version", "is_first"}
