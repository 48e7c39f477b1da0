"""One copy of a game that is stepped together, as a TurnEnv: turns, final observations, seeds and streams."""

from __future__ import annotations

import numpy as np
import pytest

from sfmarl.envs.turn_copy import TurnCopy
from sfmarl.envs.turns import ResumableTurns, Turn, TurnEnv
from sfmarl.envs.vector_turns import TurnOutcome
from sfmarl.errors import UsageError
from sfmarl.seeding import generator_state, restore_generator
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec


class Auction:
    """Three seats; seat 0 opens, seat 2 answers twice, seat 1 only watches. Then the episode is cut off."""

    ORDER = (0, 2, 2)

    def __init__(self, num_envs, seeds):
        action, obs = ActionSpec("discrete", (4,), (0,)), ObsSpec((2,), np.dtype(np.float32))
        teams = tuple(TeamSpec(name, (name,), obs, action, has_mask=True) for name in "abc")
        self.spec = EnvSpec("auction", teams, turn_based=True, state_shape=(1,))
        self.num_envs, self.seat = num_envs, np.zeros(num_envs, np.int64)
        self._streams, self._clock = [np.random.default_rng(seed) for seed in seeds], np.zeros(num_envs, np.int64)
        self.worth = np.zeros(num_envs, np.float32)
        self.closed = False

    def reset(self, envs):
        self._clock[envs], self.seat[envs] = 0, self.ORDER[0]
        self.worth[envs] = [self._streams[e].random() for e in envs.tolist()]

    def observe(self, seat, envs, obs, action_mask, state):
        obs[:, 0], obs[:, 1] = seat, self.worth[envs]
        action_mask[...] = [True, False, False, True]
        if state is not None:
            state[:, 0] = self._clock[envs]

    def act(self, envs, actions):
        self._clock[envs] += 1
        over = self._clock[envs] == len(self.ORDER)
        self.seat[envs] = [self.ORDER[t % len(self.ORDER)] for t in self._clock[envs]]
        return TurnOutcome(actions[:, None] + np.array([0.0, 0.25, 0.5]), np.zeros(len(envs), bool), over)

    def generator_states(self):
        return [generator_state(stream) for stream in self._streams]

    def restore_generators(self, states):
        for stream, state in zip(self._streams, states, strict=True):
            restore_generator(stream, state)

    def close(self):
        self.closed = True


@pytest.fixture
def copy():
    return TurnCopy(lambda seed: Auction(1, [seed]))


def test_turns_bring_what_was_earned_since_the_last_one(copy):
    """Seat 1 never moves; a truncated episode passes every seat with what it is owed and its final observation."""
    assert isinstance(copy, TurnEnv) and isinstance(copy, ResumableTurns)
    copy.reset(3)
    obs, mask, state = np.zeros(2, np.float32), np.zeros(4, bool), np.zeros(1, np.float32)
    for seat, owed, action in ((0, 0.0, 1), (2, 1.5, 2), (2, 2.5, 3)):
        assert copy.turn() == copy.turn() == Turn(seat, 0, owed, False, False)
        copy.observe(obs, mask, None)
        assert obs[0] == seat and mask.tolist() == [True, False, False, True]
        copy.act(np.int32(action))
    for seat, owed in ((0, 1.0 + 2.0 + 3.0), (1, 6.75), (2, 3.5)):
        assert copy.turn() == Turn(seat, 0, owed, False, True)
        copy.observe(obs, mask, state)
        assert obs[0] == seat and mask.all() and state[0] == 3
        copy.act(None)
    assert copy.turn() is None
    copy.reset()
    assert copy.turn() == Turn(0, 0, 0.0, False, False)


def worth(copy):
    obs = np.zeros(2, np.float32)
    copy.observe(obs, np.zeros(4, bool), None)
    return obs[1]


def test_a_seed_begins_the_stream_and_later_episodes_go_on_in_it(copy):
    seen = []
    for seed in (5, None, None, 5, None, 6):
        copy.reset(seed)
        seen.append(worth(copy))
    assert len(set(seen)) == 4 and seen[:2] == seen[3:5]


def test_a_restored_stream_is_what_the_first_episode_begins_from(copy):
    copy.reset(5)
    state = copy.generator_state()
    copy.reset()
    again = TurnCopy(lambda seed: Auction(1, [seed]))
    again.restore_generator(state)
    again.reset(77)
    assert worth(again) == worth(copy)


def test_what_draws_nothing_says_so(copy):
    copy.reset(1)
    with pytest.raises(UsageError, match="auction cannot render"):
        copy.render()


def test_the_game_is_closed_also_when_it_is_built_anew():
    built = []
    copy = TurnCopy(lambda seed: built.append(Auction(1, [seed])) or built[-1])
    copy.reset(1)
    copy.close()
    assert [game.closed for game in built] == [True, True]
