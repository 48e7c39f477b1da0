"""Many games at once, with players of their own in each: who sits where, and who answers for them.

    Games            E games: who sits in every seat, what was played
    Games.crowds     seat -> whoever sits there in all of them, in the place of one player of an arena

Rows of policies that are built alike are answered together by one weight bank, whoever's they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from sfmarl.envs.rows import random_actions
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.evaluation.contestants import Contestant
from sfmarl.evaluation.mcts import GameRules
from sfmarl.models.bank import WeightBank
from sfmarl.seeding import seed_for
from sfmarl.specs import EnvSpec, TeamSpec


class Rows(NamedTuple):
    """B rows of one seat that wait for an action."""

    envs: np.ndarray
    """int64 [B]."""
    who: np.ndarray
    """int64 [B]: number of the contestant that sits there."""
    obs: np.ndarray
    """[B, A, *obs]."""
    action_mask: np.ndarray | None
    """bool [B, A, n]."""
    agent_index: np.ndarray | None
    """int64 [B, A]; None where column a is agent a."""
    is_first: np.ndarray
    """bool [B, A]: whose life begins."""

    def take(self, rows: np.ndarray) -> Rows:
        """Return some of them."""
        return Rows(*(None if part is None else part[rows] for part in self))


class Answerer(Protocol):
    """Who acts for some of the contestants in one seat."""

    def act(self, rows: Rows, greedy: bool) -> np.ndarray:
        """Return stored actions [B, A, *action]; valid until the next call."""
        ...


class Games:
    """E games of `spec` between `contestants`, each of whom may sit in any seat of any game."""

    def __init__(
        self, spec: EnvSpec, contestants: Sequence[Contestant], envs: int, seed: int, openings: int = 0
    ) -> None:
        """The first `openings` plies (env-steps) of every game are random legal moves, whoever makes them.

        Raises UsageError when OpenSpiel is needed and is not installed or does not know the game.
        """
        self.spec, self.openings = spec, openings
        self.who = np.zeros((envs, len(spec.teams)), np.int64)
        """[E, seats]: number of the contestant in each seat."""
        self.plies = np.zeros(envs, np.int64)
        """[E]: env-steps since the game began."""
        self.moves: list[list[int]] = [[] for _ in range(envs)]
        """Of each game of one discrete action per turn, in order; empty for others."""
        self.generator = np.random.default_rng(seed_for(seed, "openings"))
        banks = _banks(contestants, seed)
        self.crowds = tuple(SeatCrowd(self, seat, contestants, banks, seed) for seat in range(len(spec.teams)))
        """Who plays each seat."""

    def begin(self, env: int, who: Sequence[int]) -> None:
        """Have `who` [seats] sit in a game that begins."""
        self.who[env] = who
        self.plies[env] = 0
        self.moves[env].clear()

    def note(self, seat: int, envs: np.ndarray, actions: np.ndarray) -> None:
        """Take note of what `seat` chose, stored actions [B, A, *action]."""
        if not self.spec.turn_based:
            self.plies[envs] += seat == len(self.spec.teams) - 1
            return
        self.plies[envs] += 1
        if actions.ndim == 2:
            for env, action in zip(envs.tolist(), actions[:, 0].tolist(), strict=True):
                self.moves[env].append(action)


class SeatCrowd:
    """Whoever sits in one seat of all games (see `arena.Crowd`)."""

    def __init__(
        self, games: Games, seat: int, contestants: Sequence[Contestant], banks: Sequence[_Bank], seed: int
    ) -> None:
        self._games, self._seat = games, seat
        self._team = team = games.spec.teams[seat]
        self._answerers: list[Answerer] = [_Policies(bank, seat, team, len(games.who)) for bank in banks]
        self._answers = np.zeros(len(contestants), np.int64)
        for number, contestant in enumerate(contestants):
            if contestant.policies:
                bank = next(i for i, bank in enumerate(banks) if (seat, number) in bank.slots)
                self._answers[number] = bank
                continue
            self._answers[number] = len(self._answerers)
            own_seed = seed_for(seed, "contestant", number, seat)
            if contestant.simulations:
                rules = GameRules(games.spec.env, team.action.mask_size)
                self._answerers.append(_Search(games, seat, rules, contestant.simulations, own_seed))
            else:
                self._answerers.append(_Script(ScriptedPlayer(contestant.script, team, own_seed)))

    def new_state(self, rows: int, agents: int) -> None:
        """See `arena.Crowd`."""

    def act_in(
        self,
        envs: np.ndarray,
        obs: np.ndarray,
        action_mask: np.ndarray | None,
        agent_index: np.ndarray | None,
        greedy: bool,
        is_first: np.ndarray,
    ) -> np.ndarray:
        """See `arena.Crowd`."""
        rows = Rows(envs, self._games.who[envs, self._seat], obs, action_mask, agent_index, is_first)
        spec = self._team.action
        actions = np.empty((*obs.shape[:2], *spec.shape), spec.dtype)
        answers = self._answers[rows.who]
        opening = self._games.plies[envs] < self._games.openings
        for number in np.flatnonzero(np.bincount(answers)).tolist():
            answerer = self._answerers[number]
            mine = answers == number
            # whoever remembers has to see the opening, too; a search would think for nothing
            chosen = np.flatnonzero(mine & ~opening if isinstance(answerer, _Search) else mine)
            if chosen.size:
                actions[chosen] = answerer.act(rows.take(chosen), greedy)
        if opening.any():
            chosen = np.flatnonzero(opening)
            mask = None if action_mask is None else action_mask[chosen]
            shape = (len(chosen), obs.shape[1])
            actions[chosen] = random_actions(spec, shape, self._games.generator, mask)
        self._games.note(self._seat, envs, actions)
        return actions


class _Bank(NamedTuple):
    """Policies that are built alike."""

    bank: WeightBank
    slots: dict[tuple[int, int], int]
    """(seat, contestant) -> bank slot."""


def _banks(contestants: Sequence[Contestant], seed: int) -> list[_Bank]:
    """Return all policies, by how they are built; one that sits in several seats is held once."""
    alike: dict[str, dict[int, int]] = {}
    policies = {}
    seats: dict[str, dict[tuple[int, int], int]] = {}
    for number, contestant in enumerate(contestants):
        for seat, policy in enumerate(contestant.policies):
            slots = alike.setdefault(policy.kind, {})
            policies[id(policy)] = policy
            slot = slots.setdefault(id(policy), len(slots))
            seats.setdefault(policy.kind, {})[seat, number] = slot
    banks = []
    for kind, slots in alike.items():
        first = policies[next(iter(slots))]
        bank = WeightBank(first.actor, first.spec, len(slots), "cpu", seed_for(seed, "bank", len(banks)))
        for key, slot in slots.items():
            bank.load(slot, policies[key].flat)
        banks.append(_Bank(bank, seats[kind]))
    return banks


class _Policies:
    """The policies of a bank, in one seat."""

    def __init__(self, bank: _Bank, seat: int, team: TeamSpec, envs: int) -> None:
        self._bank = bank.bank
        mine = {number: slot for (at, number), slot in bank.slots.items() if at == seat}
        self._slot = np.zeros(max(mine, default=0) + 1, np.int64)
        for number, slot in mine.items():
            self._slot[number] = slot
        self._memory = bank.bank.new_state(envs, len(team.agents))

    def act(self, rows: Rows, greedy: bool) -> np.ndarray:
        """See `Answerer`."""
        at = rows.envs if rows.agent_index is None else (rows.envs[:, None], rows.agent_index)
        memory = None if self._memory is None else self._memory[at].contiguous()
        slot = self._slot[rows.who]
        action, _ = self._bank.act(rows.obs, slot, rows.action_mask, rows.agent_index, greedy, memory, rows.is_first)
        if memory is not None:
            self._memory[at] = memory
        return action


class _Script:
    """A Python callable."""

    def __init__(self, player: ScriptedPlayer) -> None:
        self._player = player

    def act(self, rows: Rows, greedy: bool) -> np.ndarray:
        """See `Answerer`."""
        return self._player.act(rows.obs, rows.action_mask, rows.agent_index, greedy)[0]


class _Search:
    """OpenSpiel's MCTS, game by game."""

    def __init__(self, games: Games, seat: int, rules: GameRules, simulations: int, seed: int) -> None:
        self._games, self._seat = games, seat
        self._choose = rules.search(simulations, seed)

    def act(self, rows: Rows, greedy: bool) -> np.ndarray:
        """See `Answerer`."""
        legal = rows.action_mask
        return np.array(
            [
                [self._choose(self._games.moves[env], self._seat, None if legal is None else legal[row, 0])]
                for row, env in enumerate(rows.envs.tolist())
            ]
        )
