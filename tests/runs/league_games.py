"""Duels of two in which what pays is not what wins, behind every interface an environment may have.

Both choose 0 or 1, once. The larger choice wins the match; 0 earns 2 and 1 earns 0, whatever the other chose. So
returns never cancel out, and whoever learns loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

from sfmarl.envs.infos import OUTCOME, EpisodeInfos
from sfmarl.envs.matrix import payoffs
from sfmarl.envs.matrix.games import MatrixGame
from sfmarl.envs.vector_turns import TurnOutcome
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec

AGENTS = ("player_0", "player_1")
WORDS = {1: "win", 0: "draw", -1: "loss"}


def said(choices: Sequence[int], says: str) -> dict[str, dict[str, Any]]:
    """Return the infos of a match: numbers, words, `nothing`, of the `first` agent only, or in words nobody knows."""
    signs = np.sign([choices[0] - choices[1], choices[1] - choices[0]]).tolist()
    tell = {"words": WORDS.__getitem__, "other words": lambda sign: f"sign {sign}"}.get(says, lambda sign: sign)
    infos = {agent: {OUTCOME: tell(sign)} for agent, sign in zip(AGENTS, signs, strict=True)}
    if says == "nothing":
        return {agent: {} for agent in AGENTS}
    return infos | {"player_1": {}} if says == "first" else infos


class Duel(ParallelEnv):
    """The duel with both choosing at once."""

    metadata: ClassVar[dict[str, Any]] = {"name": "duel"}
    possible_agents = AGENTS

    def __init__(self, says: str = "numbers") -> None:
        self.says, self.render_mode = says, None

    def observation_space(self, agent):
        return spaces.Box(0, 1, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents = list(AGENTS)
        return {agent: np.ones(1, np.float32) for agent in AGENTS}, {agent: {} for agent in AGENTS}

    def step(self, actions):
        choices = [int(actions[agent]) for agent in AGENTS]
        self.agents = []
        paid = {agent: 2.0 * (choice == 0) for agent, choice in zip(AGENTS, choices, strict=True)}
        over, running = dict.fromkeys(AGENTS, True), dict.fromkeys(AGENTS, False)
        return {agent: np.ones(1, np.float32) for agent in AGENTS}, paid, over, running, said(choices, self.says)


class DuelInTurns(AECEnv):
    """The duel with one choosing after the other, who does not see the choice."""

    metadata: ClassVar[dict[str, Any]] = {"name": "duel_in_turns"}

    def __init__(self, says: str = "numbers") -> None:
        super().__init__()
        self.possible_agents, self.says, self.render_mode = list(AGENTS), says, None

    def observation_space(self, agent):
        return spaces.Box(0, 1, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def observe(self, agent):
        return np.ones(1, np.float32)

    def reset(self, seed=None, options=None):
        self.agents, self.choices = list(AGENTS), []
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations, self.truncations = dict.fromkeys(AGENTS, False), dict.fromkeys(AGENTS, False)
        self.infos = {agent: {} for agent in AGENTS}
        self.agent_selection = AGENTS[0]

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self.choices.append(int(action))
        self._cumulative_rewards[agent] += 2.0 * (action == 0)
        self.agent_selection = AGENTS[1] if agent == AGENTS[0] else AGENTS[0]
        if len(self.choices) == 2:
            self.terminations = dict.fromkeys(AGENTS, True)
            self.infos = said(self.choices, self.says)

    def close(self) -> None:
        pass


@dataclass(eq=False)
class NativeDuel(MatrixGame):
    """The duel as a native environment of matrix games, which tells the outcome itself."""

    def game(self):
        """Payoffs of the duel."""
        return payoffs.read_game([[[2, 2], [0, 0]], [[2, 0], [2, 0]]], "general", None)

    def __post_init__(self, seeds) -> None:
        super().__post_init__(seeds)
        self.info_keys += (OUTCOME,)

    def outcomes(self, envs):
        """The larger choice wins."""
        return np.sign(self.moves[0, :, envs] - self.moves[0, ::-1, envs])


def native_duel(num_envs: int, seeds: Sequence[int]) -> NativeDuel:
    return NativeDuel(num_envs, seeds, length=1, payoff=[[0]])


class DuelTables:
    """`DuelInTurns`, many at once."""

    info_keys = (OUTCOME,)

    def __init__(self, num_envs: int, seeds: Sequence[int]) -> None:
        action, obs = ActionSpec("discrete", (2,), (0,)), ObsSpec((1,), np.dtype(np.float32))
        self.spec = EnvSpec("duel", tuple(TeamSpec(a, (a,), obs, action, has_mask=False) for a in AGENTS), True)
        self.num_envs, self.seat = num_envs, np.zeros(num_envs, np.int64)
        self.infos: EpisodeInfos | None = None
        self._first = np.zeros(num_envs, np.int64)

    def reset(self, envs):
        self.seat[envs] = 0

    def observe(self, seat, envs, obs, action_mask, state):
        obs[...] = 1.0

    def act(self, envs, actions):
        seat, reward = self.seat[envs], np.zeros((len(envs), 2))
        reward[np.arange(len(envs)), seat] = 2.0 * (actions == 0)
        over = seat == 1
        signs = np.sign(actions - self._first[envs])[over]
        if self.infos is not None:
            self.infos.note_rows(envs[over], OUTCOME, np.stack([-signs, signs], axis=1))
        self._first[envs[~over]] = actions[~over]
        self.seat[envs] = 1 - seat
        return TurnOutcome(reward, over, np.zeros(len(envs), bool))

    def close(self):
        pass


class PersonsDuel(DuelTables):
    """`DuelTables` for a terminal."""

    def text(self, env):
        return "two numbers"

    def mark(self, seat):
        return "AB"[seat]

    def move_name(self, action):
        return str(action)

    def parse_move(self, text):
        return int(text)
