"""The snapshots that opponents are drawn from: an ordered list of addresses, bounded, some of them pinned.

Which entry goes when the pool is full is a rule:

    thin     (default) the entry whose neighbours in its player's history are closest together, the oldest among equals:
             every player's history stays spread evenly from its first snapshot to its newest, twice as coarse whenever
             it is twice as long
    oldest   first in, first out

`thin` is the default because a pool of only recent strategies forgets what beats them, and whoever trains against it
comes round again to what was already beaten: in the cyclic circle game (benchmarks/results/league_exact.md) it loses
its strength as soon as the first entries fall out. Neither rule looks at results: those are noisy, and an opponent
that is beaten today is what tomorrow's forgetting is measured with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sfmarl.errors import RunError, SfmarlError, UsageError, UserCodeError
from sfmarl.league.snapshot import SnapshotMeta, canonical, differences, freeze
from sfmarl.league.store import SnapshotStore, open_store
from sfmarl.registry import Registry, parse_call, require_arguments


@dataclass(frozen=True)
class PoolEntry:
    """One place in the pool; two places may hold the same snapshot."""

    number: int
    """Entries that came before it: unique in its pool, larger is newer."""
    address: str
    """The snapshot's address in the store."""
    meta: SnapshotMeta
    """Who took it, when, of what."""


EvictionRule = Callable[[Sequence[PoolEntry], Sequence[bool]], int]
"""(entries, oldest first; which of them may go, at least one) -> position of the one that goes."""


def oldest(entries: Sequence[PoolEntry], may_go: Sequence[bool]) -> int:
    """Return the first entry that may go."""
    return [*may_go].index(True)


def thin(entries: Sequence[PoolEntry], may_go: Sequence[bool]) -> int:
    """Return the entry that is missed least in its player's history; a player's first and newest stay if they can."""
    best: tuple[int, int] | None = None
    histories: dict[str, list[int]] = {}
    for position, entry in enumerate(entries):
        history = histories.setdefault(entry.meta.player, [])
        history.append(position)
        if len(history) >= 3 and may_go[history[-2]]:
            gap = entry.number - entries[history[-3]].number
            best = min(best or (gap, history[-2]), (gap, history[-2]))
    return oldest(entries, may_go) if best is None else best[1]


EVICTION: Registry[EvictionRule] = Registry("eviction rule")
"""What settings may name."""

EVICTION.register("thin", thin)
EVICTION.register("oldest", oldest)


def register_eviction_rule(name: str, rule: EvictionRule, description: str = "") -> None:
    """Make `rule(entries, may_go, **settings)` known as eviction rule `name`. Raises UsageError for a taken name."""
    EVICTION.register(name, rule, description)


def make_eviction_rule(text: str) -> EvictionRule:
    """Return the rule that a setting names, e.g. `thin`, `mine?keep=10` or `module:callable`. Raises UsageError."""
    call = parse_call(text)
    rule = EVICTION.find_callable(call.name)
    require_arguments(f"Eviction rule {text!r}, which is called with (entries, may_go),", call, rule, (), ())
    return partial(rule, **call.kwargs) if call.kwargs else rule


class SnapshotPool:
    """Entries over a store that may be shared; every snapshot has one architecture."""

    def __init__(
        self,
        store: SnapshotStore,
        architecture: Mapping[str, Any] | None = None,
        limit: int | None = None,
        eviction: str | EvictionRule = "thin",
    ) -> None:
        """`architecture`: what all snapshots are built like, None = like the first one. `limit`: entries it holds.

        Raises UsageError for a limit below 2 or a rule that does not exist.
        """
        if limit is not None and limit < 2:
            raise UsageError(f"a pool of {limit} snapshots cannot keep the newest beside another: allow at least 2.")
        self.store = store
        self.limit = limit
        self.architecture = None if architecture is None else canonical(architecture)
        """Canonical JSON; None while nothing has entered."""
        self._rule = make_eviction_rule(eviction) if isinstance(eviction, str) else eviction
        self._entries: list[PoolEntry] = []
        self._next = 0
        self._pins: Counter[str] = Counter()
        self._evicted: list[str] = []

    @property
    def entries(self) -> tuple[PoolEntry, ...]:
        """All entries, oldest first."""
        return tuple(self._entries)

    @property
    def addresses(self) -> list[str]:
        """The entries' addresses, oldest first, duplicates included."""
        return [entry.address for entry in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, architecture: Mapping[str, Any] | str, weights: ArrayLike, meta: SnapshotMeta) -> PoolEntry:
        """Freeze a copy of `weights` [n], store it and make it the newest entry; `meta.order` is set.

        Raises UsageError for another architecture, RunError for weights that are not finite or a store that fails.
        """
        snapshot = freeze(architecture, weights, replace(meta, order=self._next))
        _same(self.architecture or snapshot.architecture, snapshot.architecture, f"player {meta.player!r}")
        self.store.put(snapshot)
        entry = self._append(snapshot.address, snapshot.architecture, snapshot.meta)
        self._trim()
        return entry

    def seed(self, *sources: SnapshotStore | Path | str) -> list[PoolEntry]:
        """Copy all snapshots of stores, directories, run directories or URLs into the pool, each in its own order.

        Nothing has entered when it raises: UsageError for a source that is empty or unknown, or holds another
        architecture or a damaged snapshot; RunError when the pool's own store fails.
        """
        found = []
        for source in sources:
            store = open_store(source) if isinstance(source, Path | str) else source
            try:
                described = {address: store.describe(address) for address in store.addresses()}
            except RunError as error:
                raise UsageError(f"The pool cannot be seeded: {error}") from error
            if not described:
                raise UsageError(
                    f"The pool cannot be seeded: {store.where} holds no snapshots. Name the directory of a league run, "
                    "or its snapshots/."
                )
            for address in sorted(described, key=lambda a: (described[a].meta.order, a)):
                found.append((store, address, described[address]))
        architecture = self.architecture or (found[0][2].architecture if found else "{}")
        for store, address, about in found:
            _same(architecture, about.architecture, f"snapshot {address[:12]} of {store.where}")
        for store, address, _ in found:
            try:
                snapshot = store.get(address)
            except RunError as error:
                raise UsageError(f"The pool cannot be seeded: {error}") from error
            self.store.put(snapshot)
        entered = [self._append(address, about.architecture, about.meta) for _, address, about in found]
        self._trim()
        return entered

    def check(self) -> None:
        """Read every snapshot and compare it with its address. Raises RunError for one that is gone or damaged."""
        for address in dict.fromkeys(self.addresses):
            self.store.get(address)

    def pin(self, address: str) -> None:
        """Keep the entries of `address` until as many `unpin` follow: a running match plays it."""
        self._pins[address] += 1

    def unpin(self, address: str) -> None:
        """Undo one `pin`; entries that only pins kept go now. Raises ValueError when it is not pinned."""
        if not self._pins[address]:
            raise ValueError(f"{address} is not pinned")
        self._pins[address] -= 1
        self._trim()

    def sweep(self, spare: Collection[str] = ()) -> list[str]:
        """Delete from the store what this pool evicted and neither an entry, a pin nor `spare` names; return it.

        To be called when a checkpoint of the present state is on disk: one that is older may name what is deleted here,
        so `spare` is given the addresses of those that are kept. From a store that is shared nothing is deleted.
        """
        if self.store.shared:
            return []
        kept = {*self.addresses, *spare, *(address for address, count in self._pins.items() if count)}
        doomed = [address for address in dict.fromkeys(self._evicted) if address not in kept]
        for address in doomed:
            self.store.delete(address)
        self._evicted = [address for address in self._evicted if address in kept and address not in self.addresses]
        return doomed

    def state_dict(self) -> dict[str, Any]:
        """Return entries and counters as JSON types. Pins are not among them: matches do not survive their run."""
        return {
            "architecture": self.architecture,
            "next": self._next,
            "evicted": list(self._evicted),
            "entries": [{"number": e.number, "address": e.address, "meta": asdict(e.meta)} for e in self._entries],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become the pool that `state_dict` described.

        Raises UsageError for another architecture, RunError when the store lacks one of its snapshots; the pool is
        unchanged then.
        """
        if self.architecture is not None and state["architecture"] is not None:
            _same(self.architecture, state["architecture"], "the pool of the checkpoint")
        entries = [PoolEntry(e["number"], e["address"], SnapshotMeta(**e["meta"])) for e in state["entries"]]
        missing = [address for address in dict.fromkeys(e.address for e in entries) if not self.store.has(address)]
        if missing:
            raise RunError(
                f"{len(missing)} of {len(entries)} snapshots of the pool are missing, {missing[0][:12]} among them. "
                "Put the run's snapshots/ back, or resume from another checkpoint."
            )
        self.architecture = state["architecture"] or self.architecture
        self._entries, self._next, self._evicted = entries, state["next"], list(state["evicted"])

    def _append(self, address: str, architecture: str, meta: SnapshotMeta) -> PoolEntry:
        self.architecture = architecture
        entry = PoolEntry(self._next, address, meta)
        self._next += 1
        self._entries.append(entry)
        return entry

    def _trim(self) -> None:
        """Evict down to the limit. The newest and what is pinned stay: a pool full of pins is over it for a while."""
        while self.limit is not None and len(self._entries) > self.limit:
            may_go = [not self._pins[entry.address] for entry in self._entries[:-1]] + [False]
            if not any(may_go):
                return
            self._evicted.append(self._entries.pop(self._chosen(may_go)).address)

    def _chosen(self, may_go: Sequence[bool]) -> int:
        try:
            position = self._rule(self.entries, tuple(may_go))
        except SfmarlError:
            raise
        except Exception as error:
            raise UserCodeError(f"The eviction rule raised {type(error).__name__}: {error}.") from error
        if not isinstance(position, int | np.integer) or not 0 <= position < len(may_go) or not may_go[position]:
            raise UserCodeError(
                f"The eviction rule chose {position!r}. Return the place of an entry that may go: a live one and the "
                "newest may not."
            )
        return int(position)


def _same(expected: str, found: str, who: str) -> None:
    if expected != found:
        raise UsageError(
            f"{who} has another architecture than the pool: {'; '.join(differences(expected, found)[:5])}. "
            "Snapshots play together only if they are built alike."
        )
