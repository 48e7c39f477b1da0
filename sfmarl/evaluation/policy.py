"""A trained policy outside training: raw observations in, actions the environment accepts out.

>>> policy = sfmarl.load_policy("runs/spread")
>>> observations, infos = env.reset(seed=1)
>>> observations, *_ = env.step(policy.act(observations))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from sfmarl.algorithms import get_algorithm
from sfmarl.envs.codec import decode_actions
from sfmarl.errors import RunError, UsageError, nearest
from sfmarl.evaluation.raw import RawObservations
from sfmarl.models.acting import Acting, make_acting
from sfmarl.models.encoders import SetNetwork
from sfmarl.seeding import seed_for
from sfmarl.specs import AgentId, PolicySpec
from sfmarl.storage.checkpoint import Checkpoint, PolicyState, open_checkpoint
from sfmarl.storage.config_file import from_json, import_run_code
from sfmarl.user_code import import_user_code


def load_policy(
    path: str | Path,
    device: str = "cpu",
    *,
    checkpoint: str = "best",
    seed: int = 0,
    imports: Sequence[str] | None = None,
    warn: Callable[[str], None] | None = None,
) -> JointPolicy:
    """Load the policies of a run directory or of one checkpoint directory.

    `checkpoint` is `best` (the latest while none is marked), `latest`, a name or a path; `seed` is that of sampled
    actions; `imports` are modules and files to import instead of those that the run names; `warn` is told about
    damaged checkpoints that were passed over (default: a Python warning).

    A policy trained with `frame_stack` reads stacked observations: those of `envs.registry.make_env(config)`.

    Weights are data and never execute. But a run's `config.json` names code: the modules and files under its `imports`
    are imported here, and the first observation that is not an array of the stored shape (Discrete, Dict, Tuple
    spaces) makes `act` build the environment that it names. Load only run directories that you trust to name code.

    Raises UsageError when there is none, RunError when it cannot be used.
    """
    path = Path(path)
    opened = open_checkpoint(path, checkpoint, warn or (lambda text: warnings.warn(text, stacklevel=4)))
    if (config := opened.path.parent.parent / "config.json").is_file():
        import_run_code(config, imports)
    else:
        import_user_code(imports or ())
    return JointPolicy(opened, device, seed, imports)


class JointPolicy:
    """The policies of all teams of one checkpoint."""

    def __init__(
        self, checkpoint: Checkpoint, device: str = "cpu", seed: int = 0, imports: Sequence[str] | None = None
    ) -> None:
        """Build every policy of `checkpoint`; what the user's modules register must be known (see `load_policy`).

        Raises RunError when a policy does not fit what it is said to be.
        """
        self.checkpoint = checkpoint
        """Where the weights come from."""
        states = {name: checkpoint.read_policy(name) for name in checkpoint.policy_names}
        players = {name: _build(state, device, seed_for(seed, "policy", name)) for name, state in states.items()}
        self.specs: dict[str, PolicySpec] = {}
        """Team -> what its policy observes and how it acts."""
        self.by_team: dict[str, Acting] = {}
        """Team -> its policy as a function on stored arrays."""
        self.policy_versions: dict[str, int] = {name: state.policy_version for name, state in states.items()}
        """Policy -> version of its weights."""
        self._places: dict[AgentId, tuple[str, int]] = {}
        for team, seat in checkpoint.teams.items():
            if seat.policy not in states:
                raise RunError(f"Checkpoint {checkpoint.path}: team {team!r} is played by {seat.policy!r}, not in it.")
            self.specs[team] = states[seat.policy].spec
            self.by_team[team] = players[seat.policy]
            self._places |= {agent: (team, index) for index, agent in enumerate(seat.agents)}
        self._memory: dict[AgentId, Tensor] = {}
        self._raw = RawObservations(checkpoint.path.parent.parent / "config.json", imports)

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Agents it can act for, in seat order."""
        return tuple(self._places)

    def reset(self) -> None:
        """Forget what recurrent policies remember: call it whenever an episode begins."""
        self._memory.clear()

    def act(self, obs: Any, agent: AgentId | None = None, *, action_mask: Any = None, greedy: bool = True) -> Any:
        """Return the action of one agent, or {agent: action} for {agent: observation}.

        Observations are what PettingZoo's `reset` and `step` return: an array, or a dict of `observation` and
        `action_mask`. A mask that the environment puts into its infos is passed as `action_mask`, per agent for a dict
        of observations. Actions are Python ints or arrays of the action space's shape; continuous ones are clipped to
        its bounds. `greedy` takes the most probable action, otherwise one is drawn. A recurrent policy remembers each
        agent from call to call; `reset` begins an episode.

        Raises UsageError for unknown agents, and for an observation or mask that does not fit (expected and got).
        """
        if (
            agent is None
            and len(self._places) == 1
            and not (isinstance(obs, Mapping) and obs.keys() <= self._places.keys())
        ):
            agent = self.agents[0]
        if agent is not None:
            return self._act({agent: obs}, {agent: action_mask}, greedy)[agent]
        if not isinstance(obs, Mapping):
            raise UsageError(
                f"Whose observation is it? Name the agent ({self._known()}), or pass {{agent: observation}}."
            )
        if action_mask is not None and not isinstance(action_mask, Mapping):
            raise UsageError("Several observations need their action masks as {agent: mask}.")
        return self._act(obs, action_mask or {}, greedy)

    def _act(self, observations: Mapping[Any, Any], masks: Mapping[Any, Any], greedy: bool) -> dict[Any, Any]:
        for agent in observations:
            if agent not in self._places:
                near = nearest(str(agent), map(str, self._places))
                raise UsageError(f"{agent!r} is no agent of this policy.{near} It plays {self._known()}.")
        actions: dict[Any, Any] = {}
        for team in self.by_team:
            members = [agent for agent in observations if self._places[agent][0] == team]
            if members:
                stored = self._act_team(team, members, observations, masks, greedy)
                action = self.specs[team].action
                actions.update(zip(members, decode_actions(action, stored)[0], strict=True))
        return {agent: actions[agent] for agent in observations}

    def _act_team(
        self, team: str, members: Sequence[AgentId], observations: Mapping, masks: Mapping, greedy: bool
    ) -> np.ndarray:
        """Return stored actions [1, len(members), *action] of agents of one team."""
        spec = self.specs[team]
        rows = [self._raw.read(spec, team, agent, observations[agent], masks.get(agent)) for agent in members]
        obs = np.stack([row.obs for row in rows])[None]
        mask = np.stack([row.action_mask for row in rows])[None] if spec.has_mask else None
        index = np.array([[self._places[agent][1] for agent in members]])
        acting = self.by_team[team]
        state = acting.new_state(1, len(members))
        is_first = np.array([[agent not in self._memory for agent in members]])
        if state is not None:
            for row, agent in zip(state[0], members, strict=True):
                row.copy_(self._memory.get(agent, row))
        action = acting.act(obs, mask, index, greedy, state, is_first)[0]
        if state is not None:
            self._memory |= dict(zip(members, state[0], strict=True))
        return action

    def _known(self) -> str:
        return ", ".join(map(repr, self._places))


def build_actor(state: PolicyState) -> nn.Module:
    """Return a checkpoint's actor with its weights, on the CPU. Raises RunError when they do not fit.

    It computes in float32, in whatever precision it was trained: its weights are float32.
    """
    entry = get_algorithm(state.algo)
    hp = from_json(type(entry.hyperparameters()), state.hp, f"the checkpoint of policy {state.spec.name!r}")
    try:
        actor = entry.cls.build_actor(state.spec, hp)
    except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError, KeyError) as error:
        raise RunError(
            f"The actor of policy {state.spec.name!r} cannot be built as its checkpoint says: {error}"
        ) from error
    try:
        actor.load_state_dict(state.actor_tensors)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise RunError(f"The weights of policy {state.spec.name!r} do not fit its actor: {error}") from error
    for module in actor.modules():
        if isinstance(module, SetNetwork):
            module.precision = "float32"
    return actor


def _build(state: PolicyState, device: str, seed: int) -> Acting:
    """Return a policy of a checkpoint, ready to act."""
    return make_acting(build_actor(state), state.spec, device, seed)
