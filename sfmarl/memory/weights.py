"""Published weights: two flat float32 buffers and a version word per policy."""

from __future__ import annotations

import numpy as np

from sfmarl.memory.segment import Layout, Segment

HANDLE_BYTES = 4096
"""Room for the handle of a device buffer (memory/device_weights.py)."""
ADDRESS_BYTES = 32
"""A snapshot's address (league/snapshot.py), which is written as 64 hex digits elsewhere."""


def plan_weights(layout: Layout, policy: int, size: int) -> None:
    """Add the store of one policy with `size` published floats to `layout`."""
    layout.add(f"weights.{policy}.buffer", (2, size), np.float32)
    layout.add(f"weights.{policy}.address", (2, ADDRESS_BYTES), np.uint8)
    layout.add(f"weights.{policy}.version", (1,), np.int64)
    layout.add(f"weights.{policy}.handle", (HANDLE_BYTES,), np.uint8)
    layout.add(f"weights.{policy}.handle_words", (3,), np.int64)


class WeightStore:
    """One policy's weights as the rest of the run sees them; the version outlives the learner that wrote it.

    The writer fills the buffer that nobody is pointed at, then moves the version. A reader copies the buffer the
    version points at and looks at the version again: only if two publishes overtook it has its copy been written over.
    """

    def __init__(self, segment: Segment, policy: int) -> None:
        self.buffer = segment.array(f"weights.{policy}.buffer")
        """[2, size] float32; version v lies in row v % 2."""
        self._address = segment.array(f"weights.{policy}.address")
        self._version = segment.array(f"weights.{policy}.version")
        self.handle = segment.array(f"weights.{policy}.handle")
        """[HANDLE_BYTES] uint8: of the learner's device buffer, if it has one (memory/device_weights.py)."""
        words = segment.array(f"weights.{policy}.handle_words")
        self.handle_owner, self.handle_length, self.handle_since = words[:1], words[1:2], words[2:]
        """[1] int64 each: how many learners there were that share one; bytes of the handle, 0 = none; first version."""

    @property
    def version(self) -> int:
        """The newest complete version; 0 means nothing was published yet."""
        return int(self._version[0])

    def publish(self, flat: np.ndarray, version: int, address: str = "") -> None:
        """Make `flat` [size] float32 the policy's weights. Raises ValueError unless `version` is the next one.

        The first publish of a run may name any version >= 1 (a resumed run goes on counting). `address`: of a snapshot.
        """
        if version < 1 or (self.version and version != self.version + 1):
            raise ValueError(f"version {version} published after {self.version}")
        self.buffer[version % 2] = flat
        if address:
            self._address[version % 2] = np.frombuffer(bytes.fromhex(address), np.uint8)
        self._version[0] = version

    def read(self, out: np.ndarray) -> int:
        """Copy the newest weights into `out` [size] float32 and return their version (0 = none yet, nothing copied)."""
        return self.read_snapshot(out)[0]

    def read_snapshot(self, out: np.ndarray) -> tuple[int, str]:
        """Do what `read` does; return (version, the address that these weights were published under)."""
        while version := self.version:
            out[:] = self.buffer[version % 2]
            address = self._address[version % 2].tobytes().hex()
            # version + 1 goes to the other buffer; version + 2 is the first that could have torn the copy, and it is
            # written before its number appears, so version + 1 is already too late
            if self.version == version:
                return version, address
        return 0, ""
