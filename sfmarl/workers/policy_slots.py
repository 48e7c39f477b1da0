"""Who acts on an inference worker, with the newest weights: one policy (`PolicySlot`) or a bank of many (`BankSlot`).

Both are used alike: `refresh` takes over what was published, `stage` joins rows of several places, `act` answers them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from sfmarl.errors import RunError
from sfmarl.memory.device_weights import DeviceWeightsReader
from sfmarl.memory.weights import WeightStore
from sfmarl.workers.actor_states import ActorStates
from sfmarl.workers.waiting import InScratch, Where

Answer = tuple[np.ndarray, np.ndarray]
"""(action [B, A, *action], log-probability float32 [B, A])."""


class Acting(Protocol):
    """A policy's actor as it is used here (models/acting.py)."""

    generator: np.random.Generator | torch.Generator
    state_size: int
    takes_parts: bool

    def load(self, flat: np.ndarray) -> None: ...

    def act(
        self,
        obs: np.ndarray | Sequence[np.ndarray],
        action_mask: np.ndarray | Sequence[np.ndarray] | None,
        agent_index: np.ndarray | None,
        greedy: bool = False,
        rnn_state: Any = None,
        is_first: np.ndarray | None = None,
    ) -> Answer: ...


class Bank(Protocol):
    """Policies of one architecture as they are used here (models/bank.py)."""

    capacity: int
    flat_size: int
    generator: np.random.Generator | torch.Generator
    state_size: int
    takes_parts: bool

    def load(self, slot: int, flat: np.ndarray) -> None: ...

    def act(
        self,
        obs: np.ndarray,
        slot: np.ndarray,
        action_mask: np.ndarray | None,
        agent_index: np.ndarray | None,
        greedy: bool = False,
        rnn_state: Any = None,
        is_first: np.ndarray | None = None,
    ) -> Answer: ...


class _Slot:
    """What both need: the rows' staging buffers, and what is remembered of them."""

    def __init__(self, acting: Acting | Bank) -> None:
        self.states = ActorStates(acting) if acting.state_size else None
        """None for feed-forward actors."""
        self._takes_parts = acting.takes_parts
        self._staging: dict[str, np.ndarray] = {}

    def stage(self, name: str, parts: Sequence[np.ndarray]) -> np.ndarray | Sequence[np.ndarray]:
        """Return the parts as the actor takes them: as they are, or joined as [B, ...] in a reused buffer."""
        if len(parts) == 1:
            return parts[0]
        if self._takes_parts:
            return parts
        rows = sum(len(part) for part in parts)
        buffer = self._staging.get(name)
        if buffer is None or len(buffer) < rows:
            buffer = self._staging[name] = np.empty((rows, *parts[0].shape[1:]), parts[0].dtype)
        return np.concatenate(parts, out=buffer[:rows])


class PolicySlot(_Slot):
    """One policy: its actor and its newest weights.

    A policy that does not learn was published once, before the run began.
    """

    def __init__(self, acting: Acting, store: WeightStore, device_weights: DeviceWeightsReader | None = None) -> None:
        """`device_weights` are for an actor on a GPU (models/acting_torch.py)."""
        super().__init__(acting)
        self.acting = acting
        self.version = 0
        """Of the weights that act."""
        self._device_weights = device_weights
        self._store = store
        self._flat = np.empty(store.buffer.shape[1], np.float32)

    @property
    def generator(self) -> np.random.Generator | torch.Generator:
        """Draws the actions."""
        return self.acting.generator

    def refresh(self) -> bool:
        """Take over newer weights if there are any; False while nothing was published yet."""
        if self._store.version != self.version:
            version = 0 if self._device_weights is None else self._device_weights.read(self.acting.flat)
            if not version:
                version = self._store.read(self._flat)
                self.acting.load(self._flat)
            self.version = version
        return self.version > 0

    def act(self, wheres: Sequence[Where], obs: Any, mask: Any, agent_index: np.ndarray | None, *memory: Any) -> Answer:
        """Answer the rows of `wheres`; the rest is as `Acting.act` takes it, `memory` = (rnn state, is_first)."""
        rnn_state, is_first = memory
        return self.acting.act(obs, mask, agent_index, rnn_state=rnn_state, is_first=is_first)


class BankSlot(_Slot):
    """The live snapshots of a league: player k among those that do not learn lies in bank slot k."""

    version = 0
    """Of no meaning: nobody learns from what frozen players did."""

    def __init__(self, bank: Bank, stores: Sequence[WeightStore], address_of: Callable[[np.ndarray], str]) -> None:
        """`stores` publish each slot's weights under an address, which `address_of(weights)` computes anew."""
        super().__init__(bank)
        self.bank = bank
        self._stores = stores
        self._address_of = address_of
        self._versions = [0] * len(stores)
        self._flat = np.empty(bank.flat_size, np.float32)

    @property
    def generator(self) -> np.random.Generator | torch.Generator:
        """Draws the actions of all."""
        return self.bank.generator

    def refresh(self) -> None:
        """Take over what was published since the last call.

        Raises RunError when weights are not those that their address names; nobody acts with them.
        """
        for slot, store in enumerate(self._stores):
            if store.version != self._versions[slot]:
                version, address = store.read_snapshot(self._flat)
                if self._address_of(self._flat) != address:
                    raise RunError(
                        f"Snapshot {address[:12]} was damaged in shared memory: the weights of frozen opponent {slot} "
                        "are not what their address says. Resume the run from its checkpoint; if this happens again, "
                        "test the machine's memory."
                    )
                self.bank.load(slot, self._flat)
                self._versions[slot] = version

    def act(
        self, wheres: Sequence[InScratch], obs: np.ndarray, mask: np.ndarray | None, agent_index: Any, *memory: Any
    ) -> Answer:
        """See `PolicySlot.act`: every row is its player's."""
        rnn_state, is_first = memory
        players = wheres[0].player if len(wheres) == 1 else np.concatenate([where.player for where in wheres])
        return self.bank.act(obs, players, mask, agent_index, rnn_state=rnn_state, is_first=is_first)
