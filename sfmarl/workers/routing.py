"""Between an environment's seats and the slots of the players that sit in them.

With every player at home the environment writes straight into the slots, or into the scratch rows of a seat whose
player does not learn. Otherwise it writes each seat's scratch rows, and the rows of learning players are copied from
the seat into their slot: a slot follows its player.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.memory.block import Block
from sfmarl.memory.seats import Scratch
from sfmarl.workers.seating import Acts, Players, Seating, frozen

IDLE = -1
"""Seat of a block whose player sits out the episode."""


class Bystander:
    """A seat whose player does not learn, for the whole run: rows without a time axis."""

    def __init__(self, scratch: Scratch, player: int, state: np.ndarray | None = None, script: Acts | None = None):
        """`player` is its number among those that do not learn; `state` [E, *state] is needed where slots hold one.

        With a `script` the worker asks it; otherwise the inference worker has written the actions.
        """
        scratch.player[:] = player
        self.script = script
        self._scratch = scratch
        self.rows = scratch.rows(state)
        shape = scratch.active.shape
        self.outcome = OutcomeRows(np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool))

    def actions(self) -> np.ndarray:
        """Return the stored actions [E, A, *action] on the rows as they are. Raises RunError when a script fails."""
        scratch = self._scratch
        if self.script is not None:
            scratch.action[...] = self.script.act(scratch.obs, scratch.action_mask, None)[0]
        return scratch.action


class HomeRoute:
    """Everybody at home, always: each seat's rows lie in its own block, or beside the slots if nobody learns there."""

    def __init__(self, seats: Sequence[Block | Bystander]) -> None:
        self._seats = seats
        scripts: list[Acts] = [s.script for s in seats if isinstance(s, Bystander) and s.script is not None]
        self.identity = None
        """See Seating."""
        self.generators = [script.generator for script in scripts]
        """Of everything that is drawn here."""

    def obs_rows(self, ring: int, step: int) -> list[ObsRows]:
        """Return where the environment writes each seat's observations of (ring, step)."""
        return [seat.obs_rows[ring][step] if isinstance(seat, Block) else seat.rows for seat in self._seats]

    def outcome_rows(self, ring: int, step: int) -> list[OutcomeRows]:
        """Return where the environment writes each seat's outcome of (ring, step)."""
        return [seat.outcome_rows[ring][step] if isinstance(seat, Block) else seat.outcome for seat in self._seats]

    def actions(self, ring: int, step: int) -> list[np.ndarray]:
        """Return each seat's stored actions [E, A, *action]."""
        return [seat.action[ring, step] if isinstance(seat, Block) else seat.actions() for seat in self._seats]

    def reseat(self, envs: Sequence[int]) -> None:
        """Fill the seats of `envs` for their next episode."""

    def deliver_obs(self, ring: int, step: int, envs: np.ndarray | slice) -> None:
        """Bring what the environment wrote for `envs` to the slots."""

    def deliver_outcome(self, ring: int, step: int) -> None:
        """Bring the outcome that the environment wrote to the slots."""


class SeatRoute:
    """Seats are filled per episode. The same interface as HomeRoute."""

    def __init__(
        self,
        blocks: Sequence[Block],
        scratch: Sequence[Scratch],
        seating: Seating,
        scripts: Mapping[tuple[int, int], Acts] | None = None,
    ) -> None:
        """`scripts` are the players that act here, by (number among those that do not learn, seat)."""
        self._scripts = scripts or {}
        self.identity = seating.identity
        self.generators = [*seating.generators, *(script.generator for script in self._scripts.values())]
        self._blocks = blocks
        self._scratch = scratch
        self._seating = seating
        envs = scratch[0].spec.envs
        self._seat_of_block = np.full((len(blocks), envs), IDLE)
        states = [None if b.state is None else np.zeros(b.state.shape[2:], np.float32) for b in blocks]
        self._obs_rows = [seat.rows(state) for seat, state in zip(scratch, states, strict=True)]
        self._outcomes = [
            OutcomeRows(
                np.zeros(seat.active.shape, np.float32),
                np.zeros(seat.active.shape, bool),
                np.zeros(seat.active.shape, bool),
            )
            for seat in scratch
        ]

    def obs_rows(self, ring: int, step: int) -> list[ObsRows]:
        """See HomeRoute."""
        return self._obs_rows

    def outcome_rows(self, ring: int, step: int) -> list[OutcomeRows]:
        """See HomeRoute."""
        return self._outcomes

    def actions(self, ring: int, step: int) -> list[np.ndarray]:
        """See HomeRoute. A learning player's actions are fetched from its slot to the seat it takes."""
        for block, seats in zip(self._blocks, self._seat_of_block, strict=True):
            for seat in np.unique(seats[seats != IDLE]):
                envs = np.flatnonzero(seats == seat)
                self._scratch[seat].action[envs] = block.action[ring, step, envs]
        for (player, seat), script in self._scripts.items():
            scratch = self._scratch[seat]
            envs = np.flatnonzero(scratch.player == player)
            if envs.size:
                mask = None if scratch.action_mask is None else scratch.action_mask[envs]
                scratch.action[envs] = script.act(scratch.obs[envs], mask, None)[0]
        return [seat.action for seat in self._scratch]

    def reseat(self, envs: Sequence[int]) -> None:
        """See HomeRoute. Raises ValueError for a player that does not fit its seat."""
        for env in envs:
            players = self._seating.draw(env)
            self._check(players)
            self._seat_of_block[:, env] = IDLE
            for seat, player in enumerate(players):
                self._scratch[seat].player[env] = frozen(player) if player < 0 else -1
                if player >= 0:
                    self._seat_of_block[player, env] = seat

    def _check(self, players: Players) -> None:
        learning = [player for player in players if player >= 0]
        if len(players) != len(self._scratch) or len(set(learning)) != len(learning):
            raise ValueError(
                f"seating {players} must name one player for each of {len(self._scratch)} seats, each once"
            )
        for seat, player in enumerate(players):
            if player < 0:
                continue
            at, home = self._scratch[seat].spec.team, self._blocks[player].spec.team
            if (at.obs, at.action.kind, at.action.nvec, len(at.agents)) != (
                home.obs, home.action.kind, home.action.nvec, len(home.agents),
            ):  # fmt: skip
                raise ValueError(f"the player of team {home.name!r} does not fit seat {at.name!r}: their spaces differ")

    def deliver_obs(self, ring: int, step: int, envs: np.ndarray | slice) -> None:
        """See HomeRoute. The rows of a player that sits out are cleared: its slot is closed short."""
        chosen = np.zeros(self._seat_of_block.shape[1], bool)
        chosen[envs] = True
        for block, seats in zip(self._blocks, self._seat_of_block, strict=True):
            target = block.obs_rows[ring][step]
            clear_rows(target, np.flatnonzero(chosen & (seats == IDLE)))
            for seat in np.unique(seats[chosen & (seats != IDLE)]):
                rows = np.flatnonzero(chosen & (seats == seat))
                source = self._obs_rows[seat]
                for name in ObsRows.__slots__:
                    if (array := getattr(target, name)) is not None:
                        array[rows] = getattr(source, name)[rows]

    def deliver_outcome(self, ring: int, step: int) -> None:
        """See HomeRoute."""
        for block, seats in zip(self._blocks, self._seat_of_block, strict=True):
            target = block.outcome_rows[ring][step]
            for name in OutcomeRows.__slots__:
                getattr(target, name)[...] = 0
            for seat in np.unique(seats[seats != IDLE]):
                rows = np.flatnonzero(seats == seat)
                for name in OutcomeRows.__slots__:
                    getattr(target, name)[rows] = getattr(self._outcomes[seat], name)[rows]


def clear_rows(rows: ObsRows, envs: np.ndarray | Sequence[int] | slice) -> None:
    """Make rows of nobody: zero observation, all actions legal, not alive."""
    rows.obs[envs] = 0
    rows.active[envs] = False
    rows.is_first[envs] = False
    if rows.action_mask is not None:
        rows.action_mask[envs] = True
    if rows.state is not None:
        rows.state[envs] = 0


def copy_rows(source: ObsRows, target: ObsRows) -> None:
    """Copy all rows of one step to another: the last observation of a slot is the first of the next."""
    for name in ObsRows.__slots__:
        if (array := getattr(target, name)) is not None:
            array[...] = getattr(source, name)
