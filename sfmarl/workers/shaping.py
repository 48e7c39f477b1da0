"""Reward shaping: a user's function between the environment's rewards and those that are learned from.

It runs in the rollout workers on whole arrays. Episode statistics and evaluations stay those of the environment's own
rewards; what shaping makes of them is `episode/shaped_return_team/<team>`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfmarl.errors import RunError, UsageError, UserCodeError
from sfmarl.memory.block import Block
from sfmarl.registry import Registry, parse_call
from sfmarl.specs import TeamSpec


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of one team in E envs, for A of its agents. The arrays are read-only views of what is learned from."""

    team: TeamSpec
    """The team."""
    agents: np.ndarray
    """int64 [A]: index in `team.agents` of each column; 0 to A-1 where all agents act at once."""
    reward: np.ndarray
    """[E, A] float32, as the environment gave it; zero for agents that did not act."""
    obs: np.ndarray
    """[E, A, *obs] in the stored dtype, before normalisation: what the agents acted on."""
    action: np.ndarray
    """[E, A, *action] as stored: discrete choices count from 0, continuous ones are not clipped yet."""
    next_obs: np.ndarray
    """[E, A, *obs]: what followed, the final observation where the episode ended (zero for an agent that terminated in
    a turn-based environment)."""
    terminated: np.ndarray
    """[E, A] bool."""
    truncated: np.ndarray
    """[E, A] bool."""
    acted: np.ndarray
    """[E, A] bool: the agent was alive and acted. What is returned for other rows is ignored."""


Shape = Callable[..., np.ndarray]
"""`(transition, **kwargs) -> reward [E, A]`. It is called for every team on its own and keeps no state of episodes."""

REWARDS: Registry[Shape] = Registry("reward")
"""Shaping functions by name."""


def register_reward(name: str, function: Shape, description: str = "") -> None:
    """Make `function(transition, **kwargs) -> reward [E, A]` known as `name`; UsageError if it is taken."""
    REWARDS.register(name, function, description)


def find_shape(setting: str) -> tuple[str, Shape]:
    """Return (name, function of a Transition) for `name?key=value`.

    Raises UsageError when there is no such function or it does not take these arguments.
    """
    name, kwargs = parse_call(setting)
    function = REWARDS.find_callable(name)
    try:
        inspect.signature(function).bind(None, **kwargs)
    except TypeError as error:
        given = ", ".join(kwargs) or "nothing else"
        raise UsageError(f"reward {name!r} cannot be called with a transition and {given}: {error}.") from error
    except ValueError:  # a builtin that does not tell its signature
        pass
    return name, lambda transition: function(transition, **kwargs)


class Shaping:
    """Rewrites the rewards of one block's closed steps."""

    def __init__(self, setting: str, block: Block) -> None:
        """`setting` is Config.reward. Raises like `find_shape`."""
        self._name, self._function = find_shape(setting)
        self._block = block
        self._columns = np.arange(len(block.spec.team.agents))

    def step(self, ring: int, step: int) -> np.ndarray:
        """Shape all lanes of a lock-step block at (ring, step), in place; return the rewards [E, A].

        Raises RunError for a function that raises, or does not return finite numbers [E, A].
        """
        return self._apply((ring, step), self._block.obs[ring, step + 1], self._columns)

    def lane(self, ring: int, step: int, lane: int) -> float:
        """Shape one lane of a turn-based block, E = A = 1; return its reward. Raises like `step`."""
        block, one = self._block, slice(lane, lane + 1)
        agents = self._columns[lane % len(self._columns)][None]
        next_obs = block.obs[ring, step + 1, one]
        if block.terminated[ring, step, lane, 0]:
            next_obs = np.zeros_like(next_obs)  # nothing was written there
        return float(self._apply((ring, step, one), next_obs, agents)[0, 0])

    def _apply(self, now: Any, next_obs: np.ndarray, agents: np.ndarray) -> np.ndarray:
        block, reward, acted = self._block, self._block.reward[now], self._block.active[now]
        transition = Transition(
            team=block.spec.team,
            agents=agents,
            reward=_readonly(reward),
            obs=_readonly(block.obs[now]),
            action=_readonly(block.action[now]),
            next_obs=_readonly(next_obs),
            terminated=_readonly(block.terminated[now]),
            truncated=_readonly(block.truncated[now]),
            acted=_readonly(acted),
        )
        try:
            answer = self._function(transition)
        except Exception as error:
            raise UserCodeError(f"{self._who()} raised {type(error).__name__}: {error}.") from error
        shaped = np.asarray(answer)
        if shaped.shape != reward.shape or shaped.dtype.kind not in "fiub":
            raise RunError(
                f"{self._who()} must return numbers of shape {list(reward.shape)} [envs, agents], not "
                f"{shaped.dtype} of shape {list(shaped.shape)}."
            )
        if (bad := acted & ~np.isfinite(shaped)).any():
            env, column = np.argwhere(bad)[0]
            raise RunError(
                f"{self._who()} returned {shaped[env, column]} for agent {block.spec.team.agents[agents[column]]!r}, "
                f"whose reward in the environment was {reward[env, column]}."
            )
        np.copyto(reward, shaped, where=acted, casting="unsafe")
        return reward

    def _who(self) -> str:
        return f"reward {self._name!r}, team {self._block.spec.team.name!r}:"


def _readonly(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
