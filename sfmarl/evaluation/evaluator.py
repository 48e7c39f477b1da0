"""Whole episodes with fixed players: the loop behind every evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from sfmarl.config import Config
from sfmarl.envs.parallel import ParallelVectorEnv
from sfmarl.envs.registry import make_vector_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.vector import ObsRows
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.result import Evaluation
from sfmarl.seeding import seed_for
from sfmarl.specs import AgentId, TeamSpec
from sfmarl.statistics import Interval, mean_interval
from sfmarl.versions import env_version
from sfmarl.workers.episodes import EpisodeLog

MAX_ENVS = 16
"""Environments that are stepped together."""

MAX_EPISODE_STEPS = 100_000
"""An episode that is still running after so many steps is taken for endless."""


class Stopped(Exception):
    """An evaluation was told to stop before its last episode ended; there is no result. Not an error of the user's."""


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
        """Return (stored actions [E, A, *action], anything) for obs [E, A, *obs] and masks [E, A, n].

        `rnn_state` is what `new_state` returned, to be overwritten; `is_first` [E, A] says whose life begins.
        """
        ...

    def new_state(self, rows: int, agents: int) -> Tensor | None:
        """Return what it remembers of [rows, agents] before anything was seen; None when it never remembers."""
        ...


class RandomPlayer:
    """Draws uniformly over legal actions, whatever it sees; unbounded continuous ones from a standard normal."""

    def __init__(self, team: TeamSpec, seed: int) -> None:
        self._action = team.action
        self._rng = np.random.default_rng(seed)

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, None]:
        """See `Player.act`; `greedy` changes nothing."""
        return random_actions(self._action, obs.shape[:2], self._rng, action_mask), None

    def new_state(self, rows: int, agents: int) -> None:
        """See `Player.new_state`."""


class Evaluator:
    """Plays a fixed number of episodes in every env: an env whose episodes are short does not contribute more of them,
    as it would if the first episodes to end were counted."""

    def __init__(
        self,
        config: Config,
        players: Mapping[str, Player],
        episodes: int,
        seed: int,
        greedy: bool = True,
        max_episode_steps: int = MAX_EPISODE_STEPS,
        render_mode: str | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Build the environments of `config`, with `render_mode` if given; `players` says who acts for each team.

        `stop` is asked before every step; True ends the evaluation.
        Raises UsageError for an environment that cannot be built, a missing player, or fewer than one episode.
        """
        if episodes < 1:
            raise UsageError(f"episodes = {episodes}: an evaluation needs at least one.")
        count = min(episodes, MAX_ENVS)
        seeds = [seed_for(seed, "evaluate", e) for e in range(count)]
        self._config, self._stop = config, stop
        self._env = make_vector_env(config, count, seeds, render_mode)
        self.spec = self._env.spec
        if missing := [team.name for team in self.spec.teams if team.name not in players]:
            self.close()
            raise UsageError(
                f"Nobody plays {', '.join(missing)} of {self.spec.env}; there is a policy for {', '.join(players)}."
            )
        self._players = [players[team.name] for team in self.spec.teams]
        self._memories = [players[team.name].new_state(count, len(team.agents)) for team in self.spec.teams]
        self._episodes, self._seed, self._greedy, self._max_steps = episodes, seed, greedy, max_episode_steps
        self._left = np.full(count, episodes // count) + (np.arange(count) < episodes % count)
        self._age = np.zeros(count, np.int64)
        self._log = EpisodeLog(count, self.spec.num_agents)
        self._obs = new_obs_rows(self.spec, count)
        self._outcome = new_outcome_rows(self.spec, count)
        self._env.reset(np.arange(count), self._obs)

    @property
    def done(self) -> bool:
        """Whether all episodes are played."""
        return not self._left.any()

    def run_once(self) -> bool:
        """Step every env that has episodes left; False when there is none.

        Raises Stopped when `stop` says so, RunError for an endless episode. The caller closes either way.
        """
        if self.done:
            return False
        if self._stop is not None and self._stop():
            raise Stopped(f"the evaluation of {self.spec.env} was stopped")
        running = self._left > 0
        actions = [
            player.act(rows.obs, rows.action_mask, None, self._greedy, memory, rows.is_first)[0]
            for player, rows, memory in zip(self._players, self._obs, self._memories, strict=True)
        ]
        for rows, outcome in zip(self._obs, self._outcome, strict=True):
            _clear(rows, np.arange(len(running)))
            outcome.reward[...] = 0
            outcome.terminated[...] = outcome.truncated[...] = False
        ended = self._env.step(actions, running, self._obs, self._outcome)
        self._log.add([outcome.reward for outcome in self._outcome], running)
        self._age += running
        if (self._age > self._max_steps).any():
            raise RunError(
                f"An episode of {self.spec.env} did not end within {self._max_steps} steps, so it cannot be evaluated. "
                "Give the environment a time limit (often max_cycles in --env-kwargs)."
            )
        finished = np.flatnonzero(ended)
        if finished.size:
            self._log.finish(finished)
            self._age[finished] = 0
            self._left[finished] -= 1
            again = finished[self._left[finished] > 0]
            if again.size:
                for rows in self._obs:
                    _clear(rows, again)
                self._env.reset(again, self._obs)
        return not self.done

    def frame(self) -> Any:
        """Return what the first env renders. Raises UsageError when it cannot render."""
        if not isinstance(self._env, ParallelVectorEnv):
            raise UsageError(f"{self.spec.env} cannot render: it is a native vector environment.")
        return self._env.render(0)

    def result(self, checkpoint: str | None = None, baseline: Evaluation | None = None) -> Evaluation:
        """Return the evaluation; callable once, when `done`."""
        returns, lengths = self._log.drain() or (np.empty((0, self.spec.num_agents)), np.empty(0))
        teams: dict[str, Interval] = {}
        agents: dict[AgentId, Interval] = {}
        first = 0
        for team in self.spec.teams:
            own = returns[:, first : first + len(team.agents)]
            teams[team.name] = mean_interval(own.sum(axis=1))
            agents |= {agent: mean_interval(own[:, i]) for i, agent in enumerate(team.agents)}
            first += len(team.agents)
        return Evaluation(
            env=self.spec.env,
            env_version=env_version(self._config, self._env),
            episodes=len(returns),
            greedy=self._greedy,
            seed=self._seed,
            teams=teams,
            agents=agents,
            length=mean_interval(lengths),
            checkpoint=checkpoint,
            baseline=baseline,
        )

    def close(self) -> None:
        """Close the environments."""
        self._env.close()


def _clear(rows: ObsRows, envs: np.ndarray) -> None:
    rows.active[envs] = rows.is_first[envs] = False
    if rows.action_mask is not None:
        rows.action_mask[envs] = True
