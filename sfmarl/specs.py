"""The nouns: what a team observes, how it acts, and how both are stored.

Dimension letters used in every shape of the package:

    S slots   T rollout steps   E envs of a split   L lanes   A agents of a lane   B batch rows   H hidden
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import index
from typing import Any, Literal

import numpy as np

AgentId = str | int
"""A PettingZoo agent id."""

ActionKind = Literal["discrete", "multi_discrete", "continuous"]


IMAGE_MIN_SIDE = 8
"""A smaller board is seen whole by the hidden layers: connect four has 84 entries."""


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether observations of `shape` are images (height, width, channels) for the image encoder."""
    return len(shape) == 3 and min(shape[:2]) >= IMAGE_MIN_SIDE


@dataclass(frozen=True)
class ObsPart:
    """One part of a flat row that holds images beside vectors."""

    name: str
    """Where it lies in the space, e.g. `camera` or `0.goal`; `vector` for all that is no image, side by side."""
    shape: tuple[int, ...]
    """(H, W, C) of an image, (n,) of the vector."""
    is_bytes: bool = False
    """The environment's own dtype is uint8: the image encoder divides by 255, whatever the row's dtype."""

    @property
    def is_image(self) -> bool:
        """Whether the image encoder reads it."""
        return len(self.shape) == 3

    @property
    def size(self) -> int:
        """Numbers of the row it takes."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class ObsSpec:
    """One agent's observation as it is stored in a slot."""

    shape: tuple[int, ...]
    """Shape of one agent's stored observation."""
    dtype: np.dtype
    """Stored dtype: the environment's own for a Box (uint8 stays uint8), float32 for a flattened space."""
    parts: tuple[ObsPart, ...] = ()
    """Layout of a flat row that holds images: the vector first, if there is one, then each image. Empty for any other
    observation, which is one vector or one image as its shape says."""


@dataclass(frozen=True)
class ActionPart:
    """One leaf of a Tuple or Dict action; leaves follow each other in the stored action."""

    path: tuple[str | int, ...]
    """Keys of Dicts (str) and positions in Tuples (int) that lead to it."""
    shape: tuple[int, ...]
    """Shape the environment expects of this leaf."""
    dtype: np.dtype | None
    """dtype of an array leaf; None for a Discrete, which is a Python int."""

    @property
    def size(self) -> int:
        """Numbers of the stored action it takes."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class ActionSpec:
    """One agent's action as it is stored in a slot: before clipping, as the distribution drew it."""

    kind: ActionKind
    """`discrete`: int32 scalar, `multi_discrete`: int32 [K], `continuous`: float32 [D]."""
    nvec: tuple[int, ...] = ()
    """Choices per component: one entry for discrete, K for multi_discrete, empty for continuous."""
    start: tuple[int, ...] = ()
    """Smallest legal value per component (gymnasium's `start`); stored actions count from zero."""
    low: np.ndarray | None = None
    """Lower bounds [D] in the environment's dtype, continuous only."""
    high: np.ndarray | None = None
    """Upper bounds [D] in the environment's dtype, continuous only."""
    env_shape: tuple[int, ...] = ()
    """Shape the environment expects of one action; its size is D or K."""
    env_dtype: np.dtype | None = None
    """dtype the environment expects of an array action; None = as stored."""
    parts: tuple[ActionPart, ...] = ()
    """Leaves of a Tuple or Dict action, in the order of the stored action; empty for any other space."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one stored action: () | (K,) | (D,)."""
        if self.kind == "discrete":
            return ()
        return (len(self.nvec),) if self.kind == "multi_discrete" else (int(np.prod(self.env_shape)),)

    @property
    def dtype(self) -> np.dtype:
        """float32 for continuous actions, int32 otherwise."""
        return np.dtype(np.float32 if self.kind == "continuous" else np.int32)

    @property
    def mask_size(self) -> int:
        """Entries of a full action mask: the sum of `nvec` (0 for continuous actions, which have none)."""
        return int(sum(self.nvec))

    @property
    def param_size(self) -> int:
        """Outputs of the policy head: logits, or the mean of each continuous dimension."""
        return self.shape[0] if self.kind == "continuous" else self.mask_size


@dataclass(frozen=True)
class TeamSpec:
    """Ordered agents of one environment that act with the same policy at a time."""

    name: str
    """Unique name in the environment, e.g. `adversary`."""
    agents: tuple[AgentId, ...]
    """The team's agents; position in this tuple is the agent's index (and its id one-hot)."""
    obs: ObsSpec
    """What each agent of the team observes."""
    action: ActionSpec
    """How each agent of the team acts."""
    has_mask: bool = False
    """Whether the environment says which actions are legal."""


@dataclass(frozen=True)
class EnvSpec:
    """What the data plane must know of an environment before it allocates anything."""

    env: str
    """The name the environment was asked for with."""
    teams: tuple[TeamSpec, ...]
    """Teams in seat order."""
    turn_based: bool = False
    """AEC environment: one agent acts at a time, each agent is a lane of its own."""
    state_shape: tuple[int, ...] | None = None
    """Shape of `env.state()` when the critic must be given it; None when there is none or when `state_is_joint`."""
    state_is_joint: bool = False
    """`env.state()` equals all agents' observations in order: the learner rebuilds it from a one-team slot for free."""

    @property
    def num_agents(self) -> int:
        """Agents of all teams."""
        return sum(len(team.agents) for team in self.teams)

    def team(self, name: str) -> TeamSpec:
        """Return the team called `name` (KeyError when there is none)."""
        return next(team for team in self.teams if team.name == name)


StateSource = Literal["own", "joint", "env"]
"""What a central critic is fed: own observations, those of the lane's agents side by side, or a stored state."""


@dataclass(frozen=True)
class PolicySpec:
    """Everything a model needs to be built; JSON-serialisable by `to_json`, so that a checkpoint can rebuild it."""

    name: str
    """The policy's name."""
    obs: ObsSpec
    """One agent's observation."""
    action: ActionSpec
    """One agent's action."""
    has_mask: bool
    """Whether `action_mask` rows exist."""
    agents: tuple[AgentId, ...]
    """The agents of the team it plays, in index order; len(agents) is the size of the id one-hot."""
    parameter_set: tuple[int, ...]
    """Agent index -> parameter set: all 0 for `full` sharing, 0..A-1 for `none`, any surjection for roles."""
    state_source: StateSource = "own"
    """The critic's input. `joint` and `env` are a central critic's."""
    state_shape: tuple[int, ...] = ()
    """Shape of the stored state when `state_source` is `env`."""

    @property
    def num_agents(self) -> int:
        """Agents of the team."""
        return len(self.agents)

    @property
    def num_sets(self) -> int:
        """Distinct parameter sets."""
        return max(self.parameter_set) + 1

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; `from_json` is the inverse."""
        act = self.action
        return {
            "name": self.name,
            "obs": {
                "shape": list(self.obs.shape),
                "dtype": self.obs.dtype.str,
                "parts": [
                    {"name": part.name, "shape": list(part.shape), "is_bytes": part.is_bytes} for part in self.obs.parts
                ],
            },
            "action": {
                "kind": act.kind,
                "nvec": list(act.nvec),
                "start": list(act.start),
                # JSON has no infinity: an unbounded side is None
                "low": None if act.low is None else [float(x) if np.isfinite(x) else None for x in act.low],
                "high": None if act.high is None else [float(x) if np.isfinite(x) else None for x in act.high],
                "env_shape": list(act.env_shape),
                "env_dtype": _dtype_name(act.env_dtype),
                "parts": [
                    {"path": list(part.path), "shape": list(part.shape), "dtype": _dtype_name(part.dtype)}
                    for part in act.parts
                ],
            },
            "has_mask": self.has_mask,
            "agents": list(self.agents),
            "parameter_set": list(self.parameter_set),
            "state_source": self.state_source,
            "state_shape": list(self.state_shape),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PolicySpec:
        """Rebuild what `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        obs, act = data["obs"], data["action"]
        env_dtype = _dtype(act["env_dtype"])

        def bound(values: list[float | None] | None, infinite: float) -> np.ndarray | None:
            if values is None:
                return None
            return np.array([infinite if v is None else v for v in values], env_dtype or np.float32)

        if len(data["agents"]) != len(data["parameter_set"]):
            raise ValueError(f"{len(data['agents'])} agents with {len(data['parameter_set'])} parameter sets")
        return cls(
            name=data["name"],
            obs=ObsSpec(
                _sizes(obs["shape"]),
                np.dtype(obs["dtype"]),
                # absent from what version 0.1.0 wrote before there were parts
                tuple(ObsPart(part["name"], _sizes(part["shape"]), part["is_bytes"]) for part in obs.get("parts", ())),
            ),
            action=ActionSpec(
                kind=act["kind"],
                nvec=_sizes(act["nvec"]),
                start=tuple(map(index, act["start"])),
                low=bound(act["low"], -np.inf),
                high=bound(act["high"], np.inf),
                env_shape=_sizes(act["env_shape"]),
                env_dtype=env_dtype,
                parts=tuple(
                    ActionPart(tuple(part["path"]), _sizes(part["shape"]), _dtype(part["dtype"]))
                    for part in act.get("parts", ())
                ),
            ),
            has_mask=data["has_mask"],
            agents=tuple(data["agents"]),
            parameter_set=_sizes(data["parameter_set"]),
            state_source=data["state_source"],
            state_shape=_sizes(data["state_shape"]),
        )


def _sizes(values: Iterable[int]) -> tuple[int, ...]:
    """Return whole numbers from 0 on. Raises TypeError or ValueError for anything else."""
    sizes = tuple(map(index, values))
    if min(sizes, default=0) < 0:
        raise ValueError(f"{sizes} holds a negative number")
    return sizes


def _dtype_name(dtype: np.dtype | None) -> str | None:
    return None if dtype is None else dtype.str


def _dtype(name: str | None) -> np.dtype | None:
    return None if name is None else np.dtype(name)
