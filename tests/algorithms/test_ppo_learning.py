"""Every preset solves problems small enough to know the answer, acting through `make_acting` as the workers do."""

import numpy as np
import pytest
import torch

from sfmarl.algorithms.base import Batch
from sfmarl.algorithms.ppo import PPO
from sfmarl.algorithms.registry import get_algorithm
from sfmarl.models.acting import make_acting
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec
from tests.algorithms.synthetic_batches import ACTIONS, policy_spec

CPU = torch.device("cpu")
CONTEXTS = 3


def build(preset, spec, **settings) -> PPO:
    hp = get_algorithm(preset).hyperparameters()
    for name, value in ({"hidden": (32,), "lr": 0.02, "entropy_coef": 0.0} | settings).items():
        setattr(hp, name, value)
    return PPO(spec, hp, CPU, seed=1)


def bandit_reward(kind, context, action) -> np.ndarray:
    """Best reward 1 per agent: the action that the context names; for continuous actions the context's point."""
    if kind == "discrete":
        return (action == context).astype(np.float32)
    if kind == "multi_discrete":
        return (action == np.stack([context, context % 2], -1)).mean(-1, dtype=np.float32)
    return 1 - np.square(action - (context[..., None] - 1) * 0.8).sum(-1).astype(np.float32)


def masks(context) -> np.ndarray:
    """In context c, action (c + 1) mod 4 is illegal."""
    return np.arange(4) != ((context + 1) % 4)[..., None]


def play_bandit(algo, kind, rng, steps=4, lanes=48, greedy=False):
    """One batch of one-step episodes; returns it with the mean reward."""
    spec = algo.spec
    agents = spec.num_agents
    context = rng.integers(CONTEXTS, size=(steps + 1, lanes, agents))
    obs = np.eye(CONTEXTS, dtype=np.float32)[context]
    mask = masks(context) if spec.has_mask else None
    acting = make_acting(algo.actor, spec, "cpu", int(rng.integers(1 << 30)))
    flat = obs[:-1].reshape(steps * lanes, agents, CONTEXTS)
    action, log_prob = acting.act(
        flat, None if mask is None else mask[:-1].reshape(len(flat), agents, -1), None, greedy
    )
    action = action.reshape(steps, lanes, agents, *spec.action.shape)
    reward = bandit_reward(kind, context[:-1], action)
    ones = torch.ones((steps + 1, lanes, agents), dtype=torch.bool)
    batch = Batch(
        obs=torch.from_numpy(obs),
        active=ones,
        is_first=ones,
        action=torch.from_numpy(action if kind == "continuous" else action.astype(np.int64)),
        log_prob=torch.from_numpy(log_prob.reshape(steps, lanes, agents).copy()),
        reward=torch.from_numpy(reward),
        terminated=ones[:-1],
        truncated=~ones[:-1],
        policy_version=torch.zeros((steps, lanes), dtype=torch.int64),
        action_mask=None if mask is None else torch.from_numpy(mask),
    )
    return batch, reward.mean()


@pytest.mark.parametrize("kind", [*ACTIONS, "masked"])
@pytest.mark.parametrize("preset", ["ippo", "mappo", "appo", "a2c"])
def test_contextual_bandit(preset, kind):
    masked, kind = kind == "masked", "discrete" if kind == "masked" else kind
    source = "joint" if preset == "mappo" else "own"
    spec = policy_spec(kind, agents=2, masked=masked, features=CONTEXTS, source=source)
    algo, rng = build(preset, spec), np.random.default_rng(0)
    for _ in range(100 if preset == "a2c" else 16):
        algo.update(play_bandit(algo, kind, rng)[0], 0.0)
    assert play_bandit(algo, kind, rng, greedy=True)[1] > 0.95


def test_vtrace_learns_from_stale_actions():
    """Actions are always ten updates old."""
    spec = policy_spec(agents=1, features=CONTEXTS)
    algo, rng, queue = build("appo", spec), np.random.default_rng(0), []
    largest = 0.0
    for _ in range(60):
        queue.append(play_bandit(algo, "discrete", rng)[0])
        if len(queue) > 10:
            largest = max(largest, float(algo.update(queue.pop(0), 0.0)["ratio_max_first"]))
    assert largest > 1.0
    assert play_bandit(algo, "discrete", rng, greedy=True)[1] > 0.95


ACTION = ActionSpec("discrete", (2,), (0,))


def two_step_spec(source="own") -> PolicySpec:
    return PolicySpec("p", ObsSpec((2,), np.dtype(np.float32)), ACTION, False, ("a",), (0,), source)


def play_two_step(algo, rng, lanes=128) -> Batch:
    """Two states; with gamma 0.9 going from 0 to 1 is worth 0.9, which only a bootstrap at the truncation can tell.

    State 0: action 0 pays 0.6 and terminates; action 1 pays nothing and the episode is truncated in state 1.
    State 1, where other episodes start: everything pays 1 and terminates.
    """
    state0, state1 = np.eye(2, dtype=np.float32)
    obs = np.zeros((4, lanes, 1, 2), np.float32)
    acting = make_acting(algo.actor, algo.spec, "cpu", int(rng.integers(1 << 30)))
    flags = np.zeros((5, 4, lanes, 1), bool)
    active, is_first, terminated, truncated, _ = flags
    action, log_prob = np.zeros((3, lanes, 1), np.int64), np.zeros((3, lanes, 1), np.float32)
    reward = np.zeros((3, lanes, 1), np.float32)
    obs[0], active[0], is_first[0] = state0, True, True
    action[0], log_prob[0] = acting.act(obs[0])
    onward = action[0, :, 0] == 1
    reward[0, ~onward] = 0.6
    terminated[0, ~onward], truncated[0, onward] = True, True
    # the phantom step holds the final observation of truncated episodes; then an episode starts in state 1
    obs[1, onward] = state1
    obs[2], active[2], is_first[2] = state1, True, True
    action[2], log_prob[2] = acting.act(obs[2])
    reward[2], terminated[2] = 1.0, True
    tensor = torch.from_numpy
    return Batch(
        obs=tensor(obs),
        active=tensor(active),
        is_first=tensor(is_first),
        action=tensor(action),
        log_prob=tensor(log_prob),
        reward=tensor(reward),
        terminated=tensor(terminated[:3]),
        truncated=tensor(truncated[:3]),
        policy_version=torch.zeros((3, lanes), dtype=torch.int64),
    )


@pytest.mark.parametrize("preset", ["ippo", "mappo", "appo", "a2c"])
def test_truncated_episodes_are_bootstrapped_from_their_final_observation(preset):
    algo = build(preset, two_step_spec("joint" if preset == "mappo" else "own"), gamma=0.9)
    rng = np.random.default_rng(0)
    for _ in range(100 if preset == "a2c" else 20):
        metrics = algo.update(play_two_step(algo, rng), 0.0)
    assert metrics["valid_fraction"] == pytest.approx(2 / 3)
    states = torch.eye(2).reshape(2, 1, 2)
    probability = algo.actor(states)[0, 0].softmax(-1)[1]
    assert probability > 0.9
    # and a cut that had been taken for an end would have been worth nothing
    values = algo._value_norm.denormalise(algo.critic(algo.critic.gather(algo.actor.prepare(states), None)))
    np.testing.assert_allclose(values.detach().flatten(), [0.9, 1.0], atol=0.08)
