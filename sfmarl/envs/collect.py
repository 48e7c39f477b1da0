"""One team's answers of one split-step, collected as lists and written to the slot rows in few NumPy calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sfmarl.envs.codec import MASK_KEY, CodecError, illegal_rows, write_masks
from sfmarl.envs.leaves import all_finite
from sfmarl.envs.probe import TeamCodec
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.errors import EnvFault
from sfmarl.specs import AgentId

Cells = tuple[Sequence[int], Sequence[int]]
"""Rows as (envs, columns), side by side: an index of [E, A, ...]."""

CellsOf = Callable[[], Cells]
"""Cells of some values, worked out only when an error must name one."""

NO_INFO: Mapping[str, Any] = {}


class Answer(NamedTuple):
    """What `ParallelEnv.step` returns, all keyed by agent."""

    observations: Mapping[AgentId, Any]
    rewards: Mapping[AgentId, float]
    terminations: Mapping[AgentId, bool]
    truncations: Mapping[AgentId, bool]
    infos: Mapping[AgentId, Any]


class TeamRows:
    """Rows of one team for one call of `reset` or `step`.

    Every method raises EnvFault for the first observation, mask or reward that does not fit its space.
    """

    __slots__ = (
        "_agents",
        "_at",
        "_carried",
        "_codec",
        "_empty",
        "_living",
        "_masks",
        "_masks_at",
        "_out",
        "_outcome",
        "_paid",
        "_raws",
        "_seen",
        "_told",
        "_where",
    )

    def __init__(
        self,
        codec: TeamCodec,
        agents: Sequence[AgentId],
        out: ObsRows,
        outcome: OutcomeRows | None,
        where: Callable[[int], str],
    ) -> None:
        """`outcome` is None for a reset; `where(e)` says in an error message which env it is about."""
        self._where = where
        self._codec = codec
        self._agents = agents
        self._out = out
        self._outcome = outcome
        # settled envs
        self._raws: list[Any] = []
        self._at: tuple[list[int], list[int]] = ([], [])
        self._masks: list[Any] = []
        self._masks_at: tuple[list[int], list[int]] = ([], [])
        self._empty: tuple[list[int], list[int]] = ([], [])
        # envs that are carried on
        self._carried: list[int] = []
        self._living: tuple[list[int], list[int]] = ([], [])
        self._seen: list[Any] = []
        self._paid: list[Any] = []
        self._told: list[Any] = []

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
            outcome.reward[e] = self._numbers(earned, partial(self._cells, [e]))
            outcome.terminated[e] = terminated
            outcome.truncated[e] = truncated
        return alive

    def carry_on(
        self, e: int, columns: list[int], seen: Sequence[Any], paid: Sequence[float], told: Sequence[Any]
    ) -> None:
        """Take one env in which the agents `columns`, and only they, were alive and live on. `flush` writes it.

        `seen`, `paid` and `told` are as in `write_quiet`, for those agents.
        """
        self._carried.append(e)
        self._living[0].extend([e] * len(columns))
        self._living[1].extend(columns)
        self._seen += seen
        self._paid += paid
        self._told += told

    def flush(self) -> None:
        """Write what `settle` and `carry_on` collected."""
        if self._carried:
            self._write_carried()
        out = self._out
        if self._empty[0]:
            out.obs[self._empty] = 0
        if self._raws:
            observed = np.empty((len(self._raws), *self._codec.obs.spec.shape), out.obs.dtype)
            self._encode(self._raws, observed, lambda: self._at)
            out.obs[self._at] = observed
        if self._masks:
            out.action_mask[self._masks_at] = self._legal(self._masks, lambda: self._masks_at)

    def drop(self, e: int) -> None:
        """Forget what was taken of one env, which failed. Its rows mean nothing."""
        self._at, (self._raws,) = _without(e, self._at, self._raws)
        self._masks_at, (self._masks,) = _without(e, self._masks_at, self._masks)
        self._empty, _ = _without(e, self._empty)
        self._carried = [env for env in self._carried if env != e]
        lists = (self._seen, self._paid, *([self._told] if self._told else []))
        self._living, (self._seen, self._paid, *told) = _without(e, self._living, *lists)
        self._told = told[0] if told else []

    def write_quiet(self, quiet: list[int], seen: Sequence[Any], paid: Sequence[float], told: Sequence[Any]) -> None:
        """Write envs in which every agent lived on.

        `seen`, `paid` and `told` hold one observation, reward and info per env and agent; `told` is empty unless the
        mask lies there.
        """
        out, outcome = self._out, self._outcome
        cells = partial(self._cells, quiet)
        whole = len(quiet) == len(out.active)
        at = slice(None) if whole else quiet
        outcome.reward[at] = self._numbers(paid, cells).reshape(-1, len(self._agents))
        outcome.terminated[at] = False
        outcome.truncated[at] = False
        out.active[at] = True
        out.is_first[at] = False
        observed = out.obs if whole else np.empty((len(quiet), *out.obs.shape[1:]), out.obs.dtype)
        self._encode(seen, observed, cells)
        if not whole:
            out.obs[at] = observed
        if out.action_mask is not None:
            masks = self._legal(self._raw_masks(seen, told), cells)
            out.action_mask[at] = masks.reshape(len(quiet), *out.action_mask.shape[1:])

    def _write_carried(self) -> None:
        out, outcome = self._out, self._outcome
        carried = slice(None) if len(self._carried) == len(out.active) else np.array(self._carried)
        for view in (out.active, out.is_first, out.obs, outcome.reward, outcome.terminated, outcome.truncated):
            view[carried] = 0
        if out.action_mask is not None:
            out.action_mask[carried] = True
        if not self._seen:
            return
        living = np.array(self._living[0]), np.array(self._living[1])
        out.active[living] = True
        outcome.reward[living] = self._numbers(self._paid, lambda: living)
        observed = np.empty((len(self._seen), *self._codec.obs.spec.shape), out.obs.dtype)
        self._encode(self._seen, observed, lambda: living)
        out.obs[living] = observed
        if out.action_mask is not None:
            out.action_mask[living] = self._legal(self._raw_masks(self._seen, self._told), lambda: living)

    def _raw_masks(self, seen: Sequence[Any], told: Sequence[Any]) -> list[Any]:
        if not self._codec.mask_in_info:
            return [raw[MASK_KEY] for raw in seen]
        told = told or [NO_INFO] * len(seen)
        return [self._codec.mask_of(raw, info) for raw, info in zip(seen, told, strict=True)]

    def _cells(self, envs: Sequence[int]) -> Cells:
        """Return the cells of every agent of `envs`."""
        return [e for e in envs for _ in self._agents], list(range(len(self._agents))) * len(envs)

    def _encode(self, raws: Sequence[Any], observed: np.ndarray, cells: CellsOf) -> None:
        codec = self._codec.obs
        try:
            codec.write(raws, observed)
        except CodecError as error:
            self._blame(raws, cells, codec.one, "observation: ")
            first = cells()[0][0]
            raise EnvFault(f"{self._where(first)}: observations: {error}", first) from error

    def _legal(self, masks: Sequence[Any], cells: CellsOf) -> np.ndarray:
        """Return masks as bool [n, actions]."""
        action = self._codec.action.spec
        legal = np.empty((len(masks), self._out.action_mask.shape[-1]), bool)
        try:
            write_masks(masks, legal, action)
        except CodecError as error:
            self._blame(masks, cells, lambda raw: write_masks([raw], legal[:1], action), "")
            first = cells()[0][0]
            raise EnvFault(f"{self._where(first)}: action masks: {error}", first) from error
        if (bad := illegal_rows(legal, action.nvec)).any():
            first = int(bad.argmax())
            raise self._error(
                cells,
                first,
                "its action mask leaves no legal action. An agent that is alive must have one: give it an action that "
                "does nothing, or end its life",
            )
        return legal

    def _numbers(self, rewards: Sequence[Any], cells: CellsOf) -> np.ndarray:
        """Return rewards as float32 [n]."""
        try:
            numbers = np.array(rewards, np.float32).reshape(len(rewards))
        except (TypeError, ValueError):
            # some are arrays of one entry, or one is no number
            numbers = np.concatenate(self._blame(rewards, cells, _number, "reward: "))
        if not all_finite(numbers):
            first = int((~np.isfinite(numbers)).argmax())
            raise self._error(cells, first, f"reward: expected a finite number, got {numbers[first]}")
        return numbers

    def _blame(self, values: Sequence[Any], cells: CellsOf, read: Callable[[Any], Any], what: str) -> list[Any]:
        """Return `read` of each value; EnvFault naming the agent of the first that it rejects."""
        done = []
        for i, value in enumerate(values):
            try:
                done.append(read(value))
            except CodecError as error:
                raise self._error(cells, i, f"{what}{error}") from error
        return done

    def _error(self, cells: CellsOf, i: int, message: str) -> EnvFault:
        envs, columns = cells()
        e = int(envs[i])
        return EnvFault(f"{self._where(e)}: agent {self._agents[columns[i]]!r}: {message}", e)


def _without(e: int, cells: Cells, *values: list[Any]) -> tuple[tuple[list[int], list[int]], list[list[Any]]]:
    """Return cells, and the lists that go with them, without those of env `e`."""
    kept = [i for i, env in enumerate(cells[0]) if env != e]
    envs, columns, *others = ([of[i] for i in kept] for of in (*cells, *values))
    return (envs, columns), others


def _number(reward: Any) -> np.ndarray:
    """Return a reward as float32 [1]. Raises CodecError."""
    try:
        return np.array(reward, np.float32).reshape(1)
    except (TypeError, ValueError) as error:
        raise CodecError(f"expected a number, got {reward!r:.200}") from error
