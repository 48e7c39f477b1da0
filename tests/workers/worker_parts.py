"""What surrounds a worker in these tests: a small data plane, and stand-ins for environments, actors and algorithms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from sfmarl.memory.block import Block
from sfmarl.memory.plane import DataPlane, PlaneSpec
from sfmarl.memory.slots import ALL, Lanes
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec

CHOICES = 11
WEIGHTS = 3
"""Published floats of every policy here: those of nn.Linear(2, 1)."""


def env_spec(team_sizes: tuple[int, ...] = (2,), turn_based: bool = False, mask: bool = False) -> EnvSpec:
    """Return teams `t0`, `t1`, ... that observe two floats and choose one of CHOICES."""
    action = ActionSpec("discrete", nvec=(CHOICES,), start=(0,))
    obs = ObsSpec((2,), np.dtype(np.float32))
    teams = tuple(
        TeamSpec(f"t{index}", tuple(f"t{index}a{agent}" for agent in range(size)), obs, action, mask)
        for index, size in enumerate(team_sizes)
    )
    return EnvSpec("stand-in", teams, turn_based=turn_based, state_shape=(3,))


def make_plane(env: EnvSpec | None = None, **changes) -> DataPlane:
    """Return the data plane of one worker with one split of 4 envs, T = 3, ring 3; every team has its own policy."""
    env = env or env_spec()
    policies = changes.pop("policy_of_team", tuple(range(len(env.teams))))
    settings = {"workers": 1, "splits": 1, "envs_per_split": 4, "inference_workers": 1, "rollout": 3, "ring": 3}
    sizes = (WEIGHTS,) * (max(policies) + 1)
    return DataPlane.create(PlaneSpec(env, policy_of_team=policies, weight_sizes=sizes, **{**settings, **changes}))


def choice(obs: np.ndarray) -> np.ndarray:
    """Return the action that belongs to observations [..., 2]."""
    return ((obs * (3, 5)).sum(-1) % CHOICES).astype(np.int32)


class EchoActing:
    """An actor whose answer says what it saw and with which weights."""

    def __init__(self, on_act: Callable[[], None] = lambda: None) -> None:
        self.weight = float("nan")
        self.loads = 0
        self.calls: list[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]] = []
        self._on_act = on_act

    state_size = 0
    takes_parts = False

    def load(self, flat: np.ndarray) -> None:
        self.weight = float(flat[0])
        self.loads += 1

    def act(self, obs, action_mask=None, agent_index=None, greedy=False, rnn_state=None, is_first=None):
        self._on_act()
        self.calls.append(tuple(None if x is None else x.copy() for x in (obs, action_mask, agent_index)))
        who = 0 if agent_index is None else agent_index
        return choice(obs), (obs[..., 1] + 1000 * self.weight + 100 * who).astype(np.float32)


class AgeingActing(EchoActing):
    """An actor whose memory counts the steps of a life, and whose log-probability is that count."""

    state_size = 1

    def new_state(self, rows: int, agents: int) -> torch.Tensor:
        return torch.zeros((rows, agents, 1))

    def act(self, obs, action_mask=None, agent_index=None, greedy=False, rnn_state=None, is_first=None):
        action, _ = super().act(obs, action_mask, agent_index, greedy)
        first = torch.from_numpy(is_first.copy())[..., None]
        rnn_state.copy_(torch.where(first, 0.0, rnn_state) + 1)
        return action, rnn_state[..., 0].numpy().copy()


class CountingAlgorithm:
    """An algorithm whose update adds 1 to a bias and keeps a copy of what it was given."""

    def __init__(self, on_update: Callable[[], None] = lambda: None) -> None:
        self.actor = nn.Linear(2, 1)
        self.batches: list[dict[str, torch.Tensor]] = []
        self.progress: list[float] = []
        self.metrics: dict[str, torch.Tensor | float] = {"loss": torch.tensor(2.0), "rate": 0.5}
        self._on_update = on_update

    def update(self, batch, progress: float):
        self._on_update()
        with torch.no_grad():
            self.actor.bias += 1
        self.batches.append({name: x.clone() for name, x in vars(batch).items() if isinstance(x, torch.Tensor)})
        self.progress.append(progress)
        return dict(self.metrics)

    def state_dict(self):
        return {name: tensor.clone() for name, tensor in self.actor.state_dict().items()}

    def load_state_dict(self, state) -> None:
        self.actor.load_state_dict(state)


def publish_slot(
    block: Block, ring: int, lanes: Lanes = ALL, version: int = 1, number: int = 1, active: bool = True
) -> None:
    """Stand in for a rollout worker: claim, fill and publish slots. `version` -1 says that nobody acted."""
    block.slots.claim(ring, lanes, generation=0, number=number)
    steps = block.spec.rollout
    for name in ("obs", "log_prob", "reward", "action", "terminated", "truncated", "is_first"):
        getattr(block, name)[ring][:, lanes] = 0
    block.active[ring][:, lanes] = False
    block.active[ring][:steps, lanes] = active
    block.policy_version[ring][:, lanes] = version
    block.slots.publish(ring, lanes)


class ClockEnv:
    """Envs of one team that observe [env, clock]; the clock never goes back, and episodes last `length` steps.

    Fails the test when it is handed an action that does not belong to what it showed last.
    """

    def __init__(self, spec: EnvSpec, num_envs: int, clock: int = 0, length: int = 5, truncates: bool = False) -> None:
        self.spec, self.num_envs = spec, num_envs
        self.clock = np.full(num_envs, clock)
        self.closed = False
        self._length, self._truncates = length, truncates
        self._age = np.zeros(num_envs, int)

    def _show(self, env: int, rows, alive: bool, first: bool) -> None:
        rows[0].obs[env] = (env, self.clock[env])
        rows[0].active[env], rows[0].is_first[env] = alive, first

    def reset(self, envs, out) -> None:
        for env in envs:
            self.clock[env] += 1
            self._age[env] = 0
            self._show(env, out, alive=True, first=True)

    def step(self, actions, running, out, outcome):
        ended = np.zeros(self.num_envs, bool)
        for env in np.flatnonzero(running):
            expected = choice(np.array([env, self.clock[env]], np.float32))
            assert (actions[0][env] == expected).all(), f"a foreign action in env {env} at {self.clock[env]}"
            self.clock[env] += 1
            self._age[env] += 1
            ended[env] = self._age[env] == self._length
            outcome[0].reward[env] = self.clock[env]
            if ended[env]:
                (outcome[0].truncated if self._truncates else outcome[0].terminated)[env] = True
            self._show(env, out, alive=not ended[env], first=False)
        return ended

    def close(self) -> None:
        self.closed = True
