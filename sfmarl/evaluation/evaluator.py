"""Whole episodes with fixed players: the loop behind every evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.registry import make_envs
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.arena import Arena, ParallelArena, Player, TurnArena
from sfmarl.evaluation.result import Evaluation
from sfmarl.evaluation.vector_turn_arena import VectorTurnArena
from sfmarl.monitor.episodes import Episodes
from sfmarl.monitor.metrics import compute_metrics
from sfmarl.players import leading_team
from sfmarl.seeding import seed_for
from sfmarl.specs import AgentId
from sfmarl.statistics import Interval, mean_interval
from sfmarl.versions import env_version

__all__ = ["Evaluator", "Player", "Stopped"]

MAX_ENVS = 16
"""Environments that are stepped together."""

MAX_EPISODE_STEPS = 100_000
"""An episode that is still running after so many steps is taken for endless."""


class Stopped(Exception):
    """An evaluation was told to stop before its last episode ended; there is no result. Not an error of the user's."""


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

        `stop` is asked after every copy that is built and before every step; True ends the evaluation.
        Raises Stopped when it does, UsageError for an environment that cannot be built, a missing player, or fewer than
        one episode.
        """
        if episodes < 1:
            raise UsageError(f"episodes = {episodes}: an evaluation needs at least one.")
        count = min(episodes, MAX_ENVS)
        seeds = [seed_for(seed, "evaluate", e) for e in range(count)]
        self._config, self._stop = config, stop
        self._seed, self._greedy, self._max_steps = seed, greedy, max_episode_steps
        envs = make_envs(config, count, seeds, render_mode, built=self._ask)
        self._arena: Arena
        if isinstance(envs, list):
            self._arena = TurnArena(envs, seeds)
        else:
            self._arena = VectorTurnArena(envs) if isinstance(envs, TurnVectorEnv) else ParallelArena(envs)
        self.spec = self._arena.spec
        if missing := [team.name for team in self.spec.teams if team.name not in players]:
            self.close()
            raise UsageError(
                f"Nobody plays {', '.join(missing)} of {self.spec.env}; there is a policy for {', '.join(players)}."
            )
        self._players = [players[team.name] for team in self.spec.teams]
        self._arena.seat(self._players)
        self._left = np.full(count, episodes // count) + (np.arange(count) < episodes % count)
        self._age = np.zeros(count, np.int64)
        self._arena.reset(np.arange(count))

    def _ask(self) -> None:
        if self._stop is not None and self._stop():
            raise Stopped(f"the evaluation of {self._config.env} was stopped")

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
        self._ask()
        running = self._left > 0
        ended = self._arena.step(running, self._greedy)
        self._age += running
        if (self._age > self._max_steps).any():
            raise RunError(
                f"An episode of {self.spec.env} did not end within {self._max_steps} steps, so it cannot be evaluated. "
                "Give the environment a time limit (often max_cycles in --env-kwargs)."
            )
        finished = np.flatnonzero(ended)
        if finished.size:
            self._age[finished] = 0
            self._left[finished] -= 1
            again = finished[self._left[finished] > 0]
            if again.size:
                self._arena.reset(again)
        return not self.done

    def frame(self) -> Any:
        """Return what the first env renders. Raises UsageError when it cannot render."""
        return self._arena.render()

    def result(self, checkpoint: str | None = None, baseline: Evaluation | None = None) -> Evaluation:
        """Return the evaluation; callable once, when `done`. Raises UserCodeError when a user's metric fails."""
        finished = self._arena.episodes.drain()
        if finished is None:
            raise RuntimeError("no episode was played yet")
        episodes = Episodes(self.spec, *finished)
        teams: dict[str, Interval] = {}
        agents: dict[AgentId, Interval] = {}
        players_of = {team.name: player for team, player in zip(self.spec.teams, self._players, strict=True)}
        leader = players_of[leading_team(self._config, self.spec).name]
        first = 0
        for team in self.spec.teams:
            own = episodes.returns[:, first : first + len(team.agents)]
            teams[team.name] = mean_interval(own.sum(axis=1))
            agents |= {agent: mean_interval(own[:, i]) for i, agent in enumerate(team.agents)}
            first += len(team.agents)
        return Evaluation(
            env=self.spec.env,
            env_version=env_version(self._config, self._arena.env),
            episodes=len(episodes.lengths),
            greedy=self._greedy,
            seed=self._seed,
            teams=teams,
            agents=agents,
            length=mean_interval(episodes.lengths),
            infos={name: mean_interval(values) for name, values in episodes.info_columns().items()},
            metrics=compute_metrics(episodes),
            checkpoint=checkpoint,
            baseline=baseline,
            scored=tuple(team for team, player in players_of.items() if player is leader),
        )

    def close(self) -> None:
        """Close the environments."""
        self._arena.close()
