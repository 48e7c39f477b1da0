"""The AEC adapter against PettingZoo's own loop."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo.utils import wrappers
from scripted_aec import ChaosTurns

from sfmarl.config import Config
from sfmarl.envs.aec import AecTurnEnv
from sfmarl.envs.aec_state import state_holder
from sfmarl.envs.probe_turns import probe_turns
from sfmarl.envs.registry import make_env, make_turn_envs
from sfmarl.envs.rows import random_actions
from sfmarl.errors import RunError

REAL = [
    ("pettingzoo.classic.tictactoe_v3", {}),
    ("pettingzoo.classic.connect_four_v3", {}),
    ("pettingzoo.classic.rps_v2:env", {"max_cycles": 4}),
    ("mpe2.simple_tag_v3:env", {"max_cycles": 5}),
]


def adapter(env, teams="auto", name="scripted"):
    found = probe_turns(env, name, teams)
    env.moves, env.episode = [], 0
    return AecTurnEnv(env, 0, found.spec, found.codecs)


def played(env, episodes: int, seed: int, choose) -> list[tuple]:
    """Return every turn (agent, reward, terminated, truncated, observation, mask, stored action) of the adapter."""
    turns = []
    spec = env.spec
    rows = [
        (np.full(t.obs.shape, 77, t.obs.dtype), np.zeros(t.action.mask_size, bool) if t.has_mask else None)
        for t in spec.teams
    ]
    for episode in range(episodes):
        env.reset(seed if episode == 0 else None)
        while (turn := env.turn()) is not None:
            assert env.turn() is turn
            agent = spec.teams[turn.seat].agents[turn.agent]
            obs, mask = rows[turn.seat]
            action = None
            if not turn.terminated:
                env.observe(obs, mask, None if spec.state_shape is None else np.zeros(spec.state_shape, np.float32))
            if not (turn.terminated or turn.truncated):
                action = choose(spec.teams[turn.seat].action, mask)
            shown = None if turn.terminated else obs.copy()
            turns.append((agent, *turn[2:], shown, None if mask is None else mask.copy(), action))
            env.act(action)
    return turns


def plain_loop(env, spec, turns, episodes: int, seed: int) -> None:
    """Play the same actions with PettingZoo's own loop and compare what it says."""
    said = iter(turns)
    for episode in range(episodes):
        env.reset(seed=seed) if episode == 0 else env.reset()
        for agent in env.agent_iter():
            raw, reward, terminated, truncated, info = env.last()
            whose, earned, ended, cut, obs, mask, action = next(said)
            assert (whose, earned) == (agent, reward)
            assert (ended, cut) == (terminated, truncated and not terminated)
            if not terminated:
                vector = raw["observation"] if isinstance(raw, dict) else raw
                space = env.observation_space(agent)
                if isinstance(space, spaces.Discrete):
                    vector = np.eye(space.n, dtype=np.float32)[vector]
                np.testing.assert_array_equal(obs, vector)
            if mask is not None and not (terminated or truncated):
                legal = raw["action_mask"] if isinstance(raw, dict) else info["action_mask"]
                np.testing.assert_array_equal(mask, np.asarray(legal, bool))
            elif mask is not None and not terminated:
                assert mask.all(), "nobody acts on it"
            start = int(getattr(env.action_space(agent), "start", 0))
            env.step(None if action is None else int(action) + start)
    assert next(said, None) is None


def chooser(seed=0):
    rng = np.random.default_rng(seed)
    return lambda spec, mask: random_actions(spec, (), rng, mask)


@pytest.mark.parametrize("masks", [None, "obs", "info"])
@pytest.mark.parametrize("chaos", [0.0, 1.0, 2.0])
def test_chaos_is_what_pettingzoo_says(masks, chaos):
    """Deaths, births, truncations and rewards out of turn, 4 players, integer ids, masks anywhere."""
    env = adapter(ChaosTurns(masks=masks, chaos=chaos))
    turns = played(env, 60, 5, chooser())
    plain_loop(ChaosTurns(masks=masks, chaos=chaos), env.spec, turns, 60, 5)
    assert len(turns) > 300
    assert any(turn[3] for turn in turns), "nobody was cut off"


@pytest.mark.parametrize(("name", "kwargs"), REAL)
def test_real_environments_are_what_pettingzoo_says(name, kwargs):
    config = Config(name, env_kwargs=kwargs)
    (env,) = make_turn_envs(config, 1)
    turns = played(env, 8, 3, chooser())
    plain_loop(make_env(config), env.spec, turns, 8, 3)


def test_leduc_is_what_pettingzoo_says():
    pytest.importorskip("rlcard", reason="pip install 'sfmarl[classic]'")
    test_real_environments_are_what_pettingzoo_says("pettingzoo.classic.leduc_holdem_v4", {})


def test_state_is_that_of_the_moment():
    env = adapter(ChaosTurns(state=True))
    assert env.spec.state_shape == (2,)
    env.reset(1)
    obs, state = np.zeros(3, np.float32), np.zeros(2, np.float32)
    for _ in range(5):
        if (turn := env.turn()) is None:
            env.reset()
            continue
        if turn.terminated or turn.truncated:
            env.act(None)
            continue
        env.observe(obs, None, state)
        np.testing.assert_array_equal(state, obs[:2])
        env.act(np.int32(0))


class Odd(ChaosTurns):
    """Answers with whatever it is told to."""

    answer: object = None

    def observe(self, agent):
        return super().observe(agent) if self.clock < 2 or self.answer is None else self.answer


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answer": np.zeros(4, np.float32)}, ["agent", "expected shape (3,), got (4,)"]),
        ({"answer": np.zeros(3, np.float64)}, None),
        ({"answer": "text"}, ["agent", "expected shape"]),
        ({"step": ValueError("the dice fell off")}, ["step(", "ValueError: the dice fell off"]),
        ({"agent": "stranger"}, ["'stranger'"]),
        ({"reward": "much"}, ["expected a number, got 'much'"]),
    ],
)
def test_what_goes_wrong_is_said_with_copy_seed_episode_and_step(changes, words):
    scripted = Odd(agents=("a", "b"), chaos=0.0)
    env = adapter(scripted)
    scripted.answer = changes.get("answer")
    env.reset(11)
    scripted.length = 100
    obs = np.zeros(3, np.float32)

    def move():
        env.turn()
        env.observe(obs, None, None)
        env.act(np.int32(1))

    move()
    move()
    if "step" in changes:

        def fails(action):
            raise changes["step"]

        scripted.step = fails
    if "agent" in changes:
        for values in (scripted._cumulative_rewards, scripted.terminations, scripted.truncations, scripted.infos):
            values["stranger"] = 0
        scripted.agent_selection = "stranger"
        scripted.observe = lambda agent: obs
    if "reward" in changes:
        scripted._cumulative_rewards[scripted.agent_selection] = changes["reward"]
    if words is None:
        move()  # numbers of another width are converted
        return
    with pytest.raises(RunError, match=r"scripted, copy 0 \(seed 11\), episode 1, step [23]: ") as caught:
        move()
    for word in words:
        assert word in str(caught.value)


def test_a_mask_without_a_legal_action_is_an_error():
    scripted = ChaosTurns(masks="obs", chaos=0.0)
    env = adapter(scripted)
    env.reset(1)
    scripted.infos[scripted.agent_selection]["mask"] = np.zeros(4, bool)
    env.turn()
    with pytest.raises(RunError, match="its action mask leaves no legal action"):
        env.observe(np.zeros(3, np.float32), np.ones(4, bool), None)


class Says(wrappers.BaseWrapper):
    """A wrapper that has a say in whose rewards are whose."""

    def last(self, observe=True):
        observation, reward, *rest = super().last(observe)
        return observation, reward + 100, *rest


@pytest.mark.parametrize(
    ("wrap", "plain", "reward"),
    [
        (lambda env: env, True, 4.0),
        (wrappers.OrderEnforcingWrapper, True, 4.0),
        (lambda env: wrappers.OrderEnforcingWrapper(wrappers.AssertOutOfBoundsWrapper(env)), True, 4.0),
        (Says, False, 104.0),
        # PettingZoo's wrappers do not ask an inner wrapper's last()
        (lambda env: wrappers.OrderEnforcingWrapper(Says(env)), False, 4.0),
    ],
)
def test_state_is_read_below_wrappers_that_only_pass_it_on(wrap, plain, reward):
    inner = ChaosTurns(chaos=0.0)
    env = wrap(inner)
    env.reset(seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (state_holder(env) is inner) == plain
    adapted = adapter(env)
    adapted.reset(3)
    inner._cumulative_rewards[inner.agent_selection] = 4.0
    assert adapted.turn().reward == reward
    adapted.close()
    assert inner.closed


def test_a_truncation_without_a_last_look_is_a_termination():
    scripted = ChaosTurns(chaos=0.0)
    env = adapter(scripted)
    env.reset(1)
    agent = scripted.agent_selection
    scripted.truncations[agent] = True
    scripted.observe = lambda agent: None
    turn = env.turn()
    assert (turn.terminated, turn.truncated) == (True, False)


def test_an_array_of_one_is_a_reward():
    scripted = ChaosTurns(chaos=0.0)
    env = adapter(scripted)
    env.reset(1)
    scripted._cumulative_rewards[scripted.agent_selection] = np.array([2.5], np.float32)
    assert env.turn().reward == 2.5


def test_streams_go_on_where_they_were():
    one, other = (adapter(ChaosTurns()) for _ in range(2))
    one.reset(5)
    played(one, 3, None, chooser())
    state = one.generator_state()
    other.restore_generator(state)
    np.testing.assert_equal(
        [turn[:4] for turn in played(other, 5, 99, chooser())], [turn[:4] for turn in played(one, 5, None, chooser())]
    )


def test_an_environment_that_lets_nobody_act_is_an_error():
    class Empty(ChaosTurns):
        def reset(self, seed=None, options=None):
            super().reset(seed, options)
            if self.moves:
                self.agents = []

    scripted = Empty(chaos=0.0)
    found = probe_turns(ChaosTurns(chaos=0.0), "scripted")
    env = AecTurnEnv(scripted, 0, found.spec, found.codecs)
    env.reset(1)
    env.turn()
    env.act(np.int32(0))
    for _ in range(100):
        env.reset()
        assert env.turn() is None
    with pytest.raises(RunError, match="100 episodes in a row ended before any agent could act"):
        env.reset()
