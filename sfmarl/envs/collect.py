"""One team's answers of one split-step, collected as lists and written to the slot rows in few NumPy calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sfmarl.envs.codec import CodecError, illegal_rows, write_masks
from sfmarl.envs.probe import TeamCodec
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.specs import AgentId

NO_INFO: Mapping[str, Any] = {}


class Answer(NamedTuple):
    """What `ParallelEnv.step` returns, all keyed by agent."""

    observations: Mapping[AgentId, Any]
    rewards: Mapping[AgentId, float]
    terminations: Mapping[AgentId, bool]
    truncations: Mapping[AgentId, bool]
    infos: Mapping[AgentId, Any]


@dataclass(frozen=True)
class BadRow:
    """The first observation or mask that does not fit its space."""

    env: int
    """Index of the env in the split."""
    agent: AgentId
    """Whose it is."""
    message: str
    """What was expected and what came."""


class TeamRows:
    """Rows of one team for one call of `reset` or `step`; `outcome` is None for a reset."""

    __slots__ = ("_agents", "_at", "_codec", "_empty", "_masks", "_masks_at", "_out", "_outcome", "_raws")

    def __init__(self, codec: TeamCodec, agents: Sequence[AgentId], out: ObsRows, outcome: OutcomeRows | None) -> None:
        self._codec = codec
        self._agents = agents
        self._out = out
        self._outcome = outcome
        # (envs, columns) of the raws beside them
        self._raws: list[Any] = []
        self._at: tuple[list[int], list[int]] = ([], [])
        self._masks: list[Any] = []
        self._masks_at: tuple[list[int], list[int]] = ([], [])
        self._empty: tuple[list[int], list[int]] = ([], [])

    def settle(self, e: int, was_alive: Sequence[bool], listed: Collection[AgentId], answer: Answer) -> list[bool]:
        """Take one env's answer agent by agent; return who is alive now. `flush` writes the observations.

        `listed` is `env.agents` after the call.
        """
        observations, rewards, terminations, truncations, infos = answer
        has_mask = self._out.action_mask is not None
        alive, earned, terminated, truncated = [], [], [], []
        for column, (agent, acted) in enumerate(zip(self._agents, was_alive, strict=True)):
            present = agent in observations
            ends = bool(terminations.get(agent, False))
            cut = bool(truncations.get(agent, False)) and not ends
            lives = present and agent in listed and not ends and not cut
            alive.append(lives)
            earned.append(rewards.get(agent, 0.0) if acted else 0.0)
            cut = cut and present
            terminated.append(acted and not lives and not cut)
            truncated.append(acted and cut)
            if lives or (acted and present):
                self._raws.append(observations[agent])
                self._at[0].append(e)
                self._at[1].append(column)
            else:
                self._empty[0].append(e)
                self._empty[1].append(column)
            if lives and has_mask:
                self._masks.append(self._codec.mask_of(observations[agent], infos.get(agent, NO_INFO)))
                self._masks_at[0].append(e)
                self._masks_at[1].append(column)
        out, outcome = self._out, self._outcome
        out.active[e] = alive
        out.is_first[e] = [now and not before for now, before in zip(alive, was_alive, strict=True)]
        if has_mask:
            out.action_mask[e] = True
        if outcome is not None:
            outcome.reward[e] = earned
            outcome.terminated[e] = terminated
            outcome.truncated[e] = truncated
        return alive

    def flush(self) -> BadRow | None:
        """Write what `settle` collected; return the first row that does not fit, in which case nothing is promised."""
        out = self._out
        if self._empty[0]:
            out.obs[self._empty] = 0
        if self._raws:
            observed = np.empty((len(self._raws), *self._codec.obs.spec.shape), out.obs.dtype)
            try:
                self._codec.obs.write(self._raws, observed)
            except CodecError as error:
                return self._blame(self._raws, *self._at, error)
            out.obs[self._at] = observed
        return self._write_masks(self._masks, self._masks_at)

    def write_quiet(
        self, quiet: list[int], seen: Sequence[Any], infos: Sequence[Any], rewards: np.ndarray
    ) -> BadRow | None:
        """Write envs in which every agent lived on.

        `seen` and `infos` (empty when no mask lies there) hold one entry per env and agent, `rewards` is [n, A].
        Returns the first row that does not fit.
        """
        out, outcome = self._out, self._outcome
        whole = len(quiet) == len(out.active)
        at = slice(None) if whole else quiet
        out.active[at] = True
        out.is_first[at] = False
        outcome.reward[at] = rewards
        outcome.terminated[at] = False
        outcome.truncated[at] = False
        target = out.obs if whole else np.empty((len(quiet), *out.obs.shape[1:]), out.obs.dtype)
        try:
            self._codec.obs.write(seen, target)
        except CodecError as error:
            return self._blame(seen, *self._cells(quiet), error)
        if not whole:
            out.obs[at] = target
        if out.action_mask is None:
            return None
        masks = [self._codec.mask_of(raw, info) for raw, info in zip(seen, infos or [NO_INFO] * len(seen), strict=True)]
        return self._write_masks(masks, self._cells(quiet))

    def _cells(self, envs: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return (envs, columns) of every agent of `envs`."""
        return [e for e in envs for _ in self._agents], list(range(len(self._agents))) * len(envs)

    def _write_masks(self, masks: Sequence[Any], at: tuple[list[int], list[int]]) -> BadRow | None:
        if not masks:
            return None
        legal = np.empty((len(masks), self._out.action_mask.shape[-1]), bool)
        try:
            write_masks(masks, legal)
        except CodecError as error:
            for raw, e, column in zip(masks, *at, strict=True):
                try:
                    write_masks([raw], legal[:1])
                except CodecError as own:
                    return BadRow(e, self._agents[column], str(own))
            return BadRow(at[0][0], self._agents[at[1][0]], str(error))
        if (bad := illegal_rows(legal, self._codec.action.spec.nvec)).any():
            first = int(bad.argmax())
            return BadRow(at[0][first], self._agents[at[1][first]], "its action mask leaves no legal action")
        self._out.action_mask[at] = legal
        return None

    def _blame(self, raws: Sequence[Any], envs: Sequence[int], columns: Sequence[int], error: CodecError) -> BadRow:
        """Return the first of `raws` that does not fit alone."""
        for raw, e, column in zip(raws, envs, columns, strict=True):
            try:
                self._codec.obs.one(raw)
            except CodecError as own:
                return BadRow(e, self._agents[column], f"observation: {own}")
        return BadRow(envs[0], self._agents[columns[0]], f"observation: {error}")
