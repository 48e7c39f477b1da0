"""Weights from a learner to the inference workers of the same GPU without a way through the host.

On top of `WeightStore`, which stays the truth: a device buffer holds the same two versions in the same rows, is written
before the store's version moves, and is checked by the same word. Its handle lies in the segment, so a process that
replaces another finds it there; a reader that finds none, or cannot open it, reads the store.

The buffer belongs to the learner. Its successor withdraws the handle before it publishes anything, so a dead learner's
memory can only be read by whoever looks at the very last version just then; what CUDA does in that case is undefined,
which is one reason why the setting is off by default.
"""

from __future__ import annotations

import contextlib
import pickle
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor

from sfmarl.memory.weights import HANDLE_BYTES, WeightStore
from sfmarl.transfers import Transfers


class Sharing(Protocol):
    """How a tensor on the device is named to another process."""

    def seal(self, tensor: Tensor) -> bytes:
        """Return a handle, valid while this process keeps the tensor; any error means that there can be none."""
        ...

    def open(self, handle: bytes) -> Tensor:
        """Return another process's tensor; any error means that it cannot be had."""
        ...


class CudaSharing:
    """CUDA IPC, as torch.multiprocessing uses it."""

    def seal(self, tensor: Tensor) -> bytes:
        """See Sharing."""
        return pickle.dumps(reduce_tensor(tensor))

    def open(self, handle: bytes) -> Tensor:
        """See Sharing."""
        rebuild, arguments = pickle.loads(handle)
        return rebuild(*arguments)


class DeviceWeightsWriter:
    """The learner's side. Withdraws what a predecessor left behind before anything else."""

    def __init__(self, store: WeightStore, device: torch.device, sharing: Sharing | None = None) -> None:
        self._store, self._transfers = store, Transfers(device)
        store.handle_length[0] = 0
        store.handle_owner[0] += 1
        self._buffer = torch.zeros(store.buffer.shape, device=device)
        self._offered = False
        self._handle: np.ndarray | None = None
        # a driver without IPC, or a container that forbids it, may raise anything
        with contextlib.suppress(Exception):
            handle = np.frombuffer((sharing or CudaSharing()).seal(self._buffer), np.uint8)
            self._handle = handle if len(handle) <= HANDLE_BYTES else None

    @property
    def available(self) -> bool:
        """Whether the buffer can be shared at all."""
        return self._handle is not None

    def write(self, flat: Tensor, version: int) -> None:
        """Put `flat` [size], on the device, where readers of `version` look, before the store publishes it."""
        if self._handle is None:
            return
        self._transfers.copy(self._buffer[version % 2], flat)
        # complete in the device's memory, for whichever process looks next
        self._transfers.wait()
        if not self._offered:
            self._store.handle[: len(self._handle)] = self._handle
            self._store.handle_since[0] = version
            self._store.handle_length[0] = len(self._handle)
            self._offered = True


class DeviceWeightsReader:
    """An inference worker's side."""

    def __init__(self, store: WeightStore, device: torch.device, sharing: Sharing | None = None) -> None:
        self._store, self._transfers = store, Transfers(device)
        self._sharing = sharing or CudaSharing()
        self._owner = self._since = 0
        self._buffer: Tensor | None = None

    def read(self, out: Tensor) -> int:
        """Copy the newest weights into `out` [size] on the device and return their version.

        0 = nothing was copied that counts: read the store, whatever `out` holds now.
        """
        while version := self._store.version:
            buffer = self._newest()
            if buffer is None or version < self._since:
                return 0
            self._transfers.copy(out, buffer[version % 2])
            self._transfers.wait()
            # as in WeightStore.read
            if self._store.version == version and self._store.handle_owner[0] == self._owner:
                return version
        return 0

    def _newest(self) -> Tensor | None:
        store = self._store
        owner, length = int(store.handle_owner[0]), int(store.handle_length[0])
        if owner == self._owner:
            return self._buffer
        if not length:
            return None  # not offered yet: the next version is a time to look again
        handle, since = store.handle[:length].tobytes(), int(store.handle_since[0])
        if int(store.handle_owner[0]) != owner:
            return None
        self._owner, self._since, self._buffer = owner, since, None
        with contextlib.suppress(Exception):  # its owner died meanwhile, or the driver does not share
            self._buffer = self._sharing.open(handle)
        return self._buffer
