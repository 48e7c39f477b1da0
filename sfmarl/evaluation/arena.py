"""Environments under evaluation, behind one interface: all agents at once, or one after the other.

All play E copies with one player per team and keep the returns. The evaluator decides how many episodes each plays.
Games that are stepped together: vector_turn_arena.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from sfmarl.envs.rows import new_obs_rows, new_outcome_rows
from sfmarl.envs.turns import Turn, TurnEnv
from sfmarl.envs.vector import Informative, ObsRows, VectorEnv
from sfmarl.envs.vector_turns import Drawn, TurnVectorEnv
from sfmarl.errors import UsageError
from sfmarl.specs import EnvSpec, TeamSpec
from sfmarl.workers.episodes import EpisodeLog


class Player(Protocol):
    """Who acts for a team; `sfmarl.models.acting.Acting` is one."""

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: Tensor | None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Any]:
        """Return (stored actions [B, A, *action], anything) for obs [B, A, *obs] and masks [B, A, n].

        `agent_index` int64 [B, A] names the agent of each row where column a is not agent a (turns). `rnn_state` is
        what `new_state` returned, to be overwritten; `is_first` [B, A] says whose life begins.
        """
        ...

    def new_state(self, rows: int, agents: int) -> Tensor | None:
        """Return what it remembers of [rows, agents] before anything was seen; None when it never remembers."""
        ...


@runtime_checkable
class Crowd(Protocol):
    """A seat's player in every env, who may be another one in each (see games.py); it does its remembering itself."""

    def act_in(
        self,
        envs: np.ndarray,
        obs: np.ndarray,
        action_mask: np.ndarray | None,
        agent_index: np.ndarray | None,
        greedy: bool,
        is_first: np.ndarray,
    ) -> np.ndarray:
        """Return stored actions [B, A, *action] for rows of the envs int64 [B]; else as `Player.act`."""
        ...

    def new_state(self, rows: int, agents: int) -> None:
        """See `Player.new_state`."""
        ...


def ask(
    player: Player | Crowd,
    envs: np.ndarray,
    obs: np.ndarray,
    action_mask: np.ndarray | None,
    agent_index: np.ndarray | None,
    greedy: bool,
    memory: Tensor | None,
    is_first: np.ndarray,
) -> np.ndarray:
    """Return what the player of a seat does in `envs` int64 [B], stored actions [B, A, *action]."""
    if isinstance(player, Crowd):
        return player.act_in(envs, obs, action_mask, agent_index, greedy, is_first)
    return player.act(obs, action_mask, agent_index, greedy, memory, is_first)[0]


class Arena(Protocol):
    """E copies of an environment with their players."""

    spec: EnvSpec
    """What they look like."""
    env: VectorEnv | TurnVectorEnv | TurnEnv
    """The environments, or the first of them."""
    num_envs: int
    """E."""
    episodes: EpisodeLog
    """Returns of what is being played and was played."""

    def seat(self, players: Sequence[Player | Crowd]) -> None:
        """Have `players` act for the teams of `spec`, in their order."""
        ...

    def reset(self, envs: np.ndarray) -> None:
        """Begin an episode in each env of `envs` int64 [n]."""
        ...

    def step(self, running: np.ndarray, greedy: bool) -> np.ndarray:
        """Take one env-step in every env e with `running[e]`; return `ended` bool [E]: the episode is over."""
        ...

    def render(self) -> Any:
        """Return what the first env renders. Raises UsageError when it cannot."""
        ...

    def close(self) -> None:
        """Close the environments."""
        ...


class ParallelArena:
    """Environments in which all agents act at once (see `Arena`)."""

    def __init__(self, env: VectorEnv) -> None:
        self.spec, self.env = env.spec, env
        infos = env.infos if isinstance(env, Informative) else None
        self.episodes = EpisodeLog(env.num_envs, env.spec.num_agents, infos)
        self._obs = new_obs_rows(env.spec, env.num_envs)
        self._outcome = new_outcome_rows(env.spec, env.num_envs)
        self.num_envs = env.num_envs
        self._all = np.arange(env.num_envs)

    def seat(self, players: Sequence[Player | Crowd]) -> None:
        """See `Arena.seat`."""
        teams = self.spec.teams
        memories = [p.new_state(self.env.num_envs, len(t.agents)) for p, t in zip(players, teams, strict=True)]
        self._seated = list(zip(players, self._obs, memories, strict=True))

    def reset(self, envs: np.ndarray) -> None:
        """See `Arena.reset`."""
        for rows in self._obs:
            _clear(rows, envs)
        self.env.reset(envs, self._obs)

    def step(self, running: np.ndarray, greedy: bool) -> np.ndarray:
        """See `Arena.step`."""
        actions = [
            ask(player, self._all, rows.obs, rows.action_mask, None, greedy, memory, rows.is_first)
            for player, rows, memory in self._seated
        ]
        for rows, outcome in zip(self._obs, self._outcome, strict=True):
            _clear(rows, np.arange(len(running)))
            outcome.reward[...] = 0
            outcome.terminated[...] = outcome.truncated[...] = False
        ended = self.env.step(actions, running, self._obs, self._outcome)
        self.episodes.add([outcome.reward for outcome in self._outcome], running)
        if ended.any():
            self.episodes.finish(np.flatnonzero(ended))
        return ended

    def render(self) -> Any:
        """See `Arena.render`."""
        if not isinstance(self.env, Drawn):
            raise UsageError(f"{self.spec.env} cannot render: it is a native vector environment.")
        return self.env.render(0)

    def close(self) -> None:
        """See `Arena.close`."""
        self.env.close()


class TurnArena:
    """Environments in which agents take turns; the movers of one team act together (see `Arena`)."""

    def __init__(self, envs: Sequence[TurnEnv], seeds: Sequence[int]) -> None:
        """`seeds[e]` goes to the first reset of `envs[e]`."""
        self.env = envs[0]
        self.spec = self.env.spec
        infos = self.env.infos if isinstance(self.env, Informative) else None
        self.episodes = EpisodeLog(len(envs), self.spec.num_agents, infos)
        self.num_envs = len(envs)
        self._envs = envs
        self._seeds: list[int | None] = list(seeds)
        self._turns: list[Turn | None] = [None] * len(envs)
        self._rows = [_TeamRows(team, self.spec, len(envs)) for team in self.spec.teams]
        self._first = np.cumsum([0] + [len(team.agents) for team in self.spec.teams]).tolist()

    def seat(self, players: Sequence[Player | Crowd]) -> None:
        """See `Arena.seat`."""
        for player, rows in zip(players, self._rows, strict=True):
            rows.seat(player)

    def reset(self, envs: np.ndarray) -> None:
        """See `Arena.reset`."""
        for e in envs.tolist():
            seed, self._seeds[e] = self._seeds[e], None
            self._envs[e].reset(seed)
            for rows in self._rows:
                rows.is_first[e] = True
            self._turns[e] = self._next_mover(e)

    def step(self, running: np.ndarray, greedy: bool) -> np.ndarray:
        """See `Arena.step`: one turn in every env."""
        ended = np.zeros(len(self._envs), bool)
        moving = []
        for e in np.flatnonzero(running).tolist():
            if self._turns[e] is None:
                # an episode in which nobody acts
                ended[e] = True
            else:
                moving.append(e)
        for rows in self._rows:
            rows.begin()
        for e in moving:
            turn = self._turns[e]
            self._rows[turn.seat].add(e, turn.agent, self._envs[e])
        for rows in self._rows:
            if rows.envs:
                for e, action in zip(rows.envs, rows.act(greedy), strict=True):
                    self._envs[e].act(action[0])
        self.episodes.add_steps(moving)
        for e in moving:
            self._turns[e] = self._next_mover(e)
            ended[e] = self._turns[e] is None
        if ended.any():
            self.episodes.finish(np.flatnonzero(ended))
        return ended

    def _next_mover(self, e: int) -> Turn | None:
        """Note rewards and pass the dead until somebody must act; None when the episode is over."""
        env = self._envs[e]
        while (turn := env.turn()) is not None:
            self.episodes.add_agent(e, self._first[turn.seat] + turn.agent, turn.reward)
            if not (turn.terminated or turn.truncated):
                return turn
            self._rows[turn.seat].is_first[e, turn.agent] = True
            env.act(None)
        return None

    def render(self) -> Any:
        """See `Arena.render`."""
        render = getattr(self.env, "render", None)
        if render is None:
            raise UsageError(f"{self.spec.env} cannot render: it is a native turn-based environment.")
        return render()

    def close(self) -> None:
        """See `Arena.close`."""
        for env in self._envs:
            env.close()


class _TeamRows:
    """Rows of the envs in which one team is to move, and the player who moves."""

    def __init__(self, team: TeamSpec, spec: EnvSpec, count: int) -> None:
        self.envs: list[int] = []
        """Envs of the rows."""
        self.is_first = np.ones((count, len(team.agents)), bool)
        """[E, A]: the agent has not moved in this life."""
        self._obs = np.zeros((count, 1, *team.obs.shape), team.obs.dtype)
        self._mask = np.ones((count, 1, team.action.mask_size), bool) if team.has_mask else None
        self._state = None if spec.state_shape is None else np.zeros(spec.state_shape, np.float32)
        self._agents: list[int] = []

    def seat(self, player: Player | Crowd) -> None:
        """Have `player` move for the team."""
        self._player = player
        self._memory = player.new_state(*self.is_first.shape)

    def begin(self) -> None:
        """Begin a step without any row."""
        self.envs, self._agents = [], []

    def add(self, e: int, agent: int, env: TurnEnv) -> None:
        """Add the row of env `e`, in which `agent` is to move."""
        row = len(self.envs)
        env.observe(self._obs[row, 0], None if self._mask is None else self._mask[row, 0], self._state)
        self._agents.append(agent)
        self.envs.append(e)

    def act(self, greedy: bool) -> np.ndarray:
        """Return stored actions [n, 1, *action] of the rows that were added."""
        n, at = len(self.envs), (self.envs, self._agents)
        mask = None if self._mask is None else self._mask[:n]
        memory = None if self._memory is None else self._memory[at][:, None].contiguous()
        is_first = self.is_first[at][:, None]
        index = np.array(self._agents)[:, None]
        action = ask(self._player, np.array(self.envs), self._obs[:n], mask, index, greedy, memory, is_first)
        if memory is not None:
            self._memory[at] = memory[:, 0]
        self.is_first[at] = False
        return action


def _clear(rows: ObsRows, envs: np.ndarray) -> None:
    rows.active[envs] = rows.is_first[envs] = False
    if rows.action_mask is not None:
        rows.action_mask[envs] = True
