"""Discrete events: actors that end a match, draw the next opponent and fetch its weights, through the real cache class.

    match ends -> opponent drawn from the matchmaker's distribution -> weights fetched -> match begins
                      actor's memory --not there--> rack's cache --not there--> store

Every place that keeps weights is an `Opponents` (sfmarl/workers/opponents.py): least recently used first out. What it
reads is a view of one zero in the size of a snapshot, so that the class counts real bytes and nothing is allocated.
What is on its way to a rack is not sent there twice.
"""

from __future__ import annotations

import heapq
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from traffic_fleet import Design, Fleet, Link, uniforms
from traffic_league import Epoch

from sfmarl.league.live_choice import choose_live
from sfmarl.workers.opponents import Opponents

Event = tuple[float, int, bool]
"""When, which actor, and what: its match is over, or what it needs has reached its rack."""


class SizedBank:
    """What a cache loads weights into: it knows their size and keeps nothing."""

    def __init__(self, capacity: int, flat_size: int) -> None:
        self.capacity, self.flat_size = capacity, flat_size

    def load(self, slot: int, flat: np.ndarray) -> None:
        """See sfmarl.workers.opponents.Bank."""


@dataclass(frozen=True)
class Mark:
    """Where traffic stood at one moment."""

    seconds: float
    """When."""
    matches: int
    """Matches whose opponent was drawn so far."""
    waited: int
    """Of these, matches that have had their weights."""
    store_bytes: int
    """Bytes read from the store so far, by the caches' own account."""
    rack_bytes: int
    """Bytes read from rack caches by actors so far."""


class Simulation:
    """One league on one fleet under one design."""

    def __init__(
        self, design: Design, fleet: Fleet, epochs: Sequence[Epoch], refresh: int, seed: int, warm: bool = False
    ) -> None:
        """`epochs` follow each other every `refresh` matches; the last one stays.

        `warm`: rack caches begin full. Actors that pull all begin with the whole pool.
        """
        self.design, self.fleet = design, fleet
        self._epochs, self._refresh = epochs, refresh
        self._rng = np.random.default_rng(seed)
        self._flat = np.broadcast_to(np.float32(0), (fleet.snapshot_bytes // 4,))
        self.store = Link(fleet.store_gbit)
        self._rack_links = [Link(fleet.rack_gbit) for _ in range(fleet.racks)]
        # actors that pull all hold the same at any time: one cache stands for them, and counts for all
        self._at_actors = (
            [self._cache(design.actor, fleet.actors)] * fleet.actors
            if design.pull_all
            else [self._cache(design.actor) for _ in range(fleet.actors if design.actor else 0)]
        )
        self._at_racks = [self._cache(design.rack) for _ in range(fleet.racks if design.rack else 0)]
        self._due: list[dict[str, float]] = [{} for _ in self._at_racks or self._at_actors]
        """By first cache behind the store: when what was asked for arrives."""
        self._bytes_before = 0
        """Bytes that actors had read before they were restarted, or that a restart cost."""
        self._playing: list[str | None] = [None] * fleet.actors
        self._pool = epochs[0].addresses
        self._cumulative: list[list[float]] = []
        self._needed = [0.0] * fleet.actors
        self._wanted: set[str] = set()
        self.waits: list[float] = []
        """Seconds that each match waited for weights, in the order in which it was known."""
        self.restarts = 0
        """Actors that lost their memory."""
        for cache in self._at_actors[:1] if design.pull_all else self._at_racks if warm and not design.live else ():
            cache.want(self._pool)

    def run(self, matches: int) -> tuple[Mark, Mark]:
        """Draw opponents for so many matches; returns where traffic stood after half of them and after all."""
        fleet, rng = self.fleet, self._rng
        durations, chances, lives = fleet.durations(rng), uniforms(rng), fleet.lives(rng)
        dies = [next(lives) for _ in range(fleet.actors)]
        # actors come up one after the other within the length of a match
        starts = rng.uniform(0, fleet.mean_match, fleet.actors).tolist()
        events: list[Event] = [(start, actor, False) for actor, start in enumerate(starts)]
        heapq.heapify(events)
        begun, half = 0, self._mark(0.0, 0)
        while begun < matches:
            now, actor, at_rack = heapq.heappop(events)
            ready: float | None = now
            if at_rack:
                ready = self._rack_links[actor // fleet.per_rack].send(now, fleet.snapshot_bytes)
            else:
                if begun == matches // 2:
                    half = self._mark(now, begun)
                if begun % self._refresh == 0:
                    self._next_epoch(begun // self._refresh, now)
                begun += 1
                self._needed[actor] = now
                if dies[actor] <= now:
                    dies[actor] = now + next(lives)
                    ready = self._restart(actor, now)
                chances_of = self._cumulative[actor % len(self._cumulative)]
                place = bisect(chances_of, next(chances))
                self._playing[actor] = address = self._pool[place] if place < len(self._pool) else None
                if address is not None:
                    ready = self._fetch(actor, address, ready)
            if ready is None:
                arrives = self._due[actor // fleet.per_rack][self._playing[actor]]
                heapq.heappush(events, (arrives, actor, True))
            else:
                self.waits.append(ready - self._needed[actor])
                heapq.heappush(events, (ready + next(durations), actor, False))
        return half, self._mark(now, begun)

    def _fetch(self, actor: int, address: str, now: float) -> float | None:
        """Return when an actor can meet an opponent; None when its weights have to reach its rack first."""
        if self.design.live:
            return self._arrival(actor // self.fleet.per_rack, address, now, False)
        own = self._at_actors[actor]
        misses = own.traffic.misses
        own.want((address,))
        if not self._at_racks:
            return self._arrival(actor, address, now, own.traffic.misses > misses)
        if own.traffic.misses == misses:
            return now
        rack = actor // self.fleet.per_rack
        cache = self._at_racks[rack]
        misses = cache.traffic.misses
        cache.want((address,))
        arrives = self._arrival(rack, address, now, cache.traffic.misses > misses)
        return self._rack_links[rack].send(now, self.fleet.snapshot_bytes) if arrives <= now else None

    def _arrival(self, place: int, address: str, now: float, sent: bool) -> float:
        """Return when a snapshot is in a cache behind the store: one that is `sent` now, or one that it holds."""
        if not sent:
            return max(now, self._due[place].get(address, now))
        arrives = self.store.send(now, self.fleet.snapshot_bytes)
        if arrives > now:
            self._due[place][address] = arrives
        return arrives

    def _restart(self, actor: int, now: float) -> float:
        """Clear an actor's memory; returns when it can draw its next opponent."""
        if not self._at_actors:
            return now
        self.restarts += 1
        if not self._at_racks:
            self._due[actor].clear()
        if self.design.pull_all:
            self._bytes_before += len(self._pool) * self.fleet.snapshot_bytes
            return max(self._arrival(actor, address, now, True) for address in self._pool)
        self._bytes_before += self._at_actors[actor].traffic.bytes_moved
        self._at_actors[actor] = self._cache(self.design.actor)
        return now

    def _next_epoch(self, number: int, now: float) -> None:
        """Let everybody draw from the matchmaker's newest distribution."""
        epoch = self._epochs[min(number, len(self._epochs) - 1)]
        new = {*epoch.addresses} - {*self._pool}
        self._pool, chances = epoch.addresses, epoch.probability
        if self.design.live:
            chances = self._change_live(epoch, now)
        elif self.design.pull_all and new:
            # wanting all keeps all: what the pool evicted makes room
            self._at_actors[0].want(self._pool)
            for actor in range(self.fleet.actors):
                for address in new:
                    self._arrival(actor, address, now, True)
        self._cumulative = [[*accumulate(row)] for row in chances.tolist()]

    def _change_live(self, epoch: Epoch, now: float) -> np.ndarray:
        """Change what all racks hold, as a run changes its live snapshots; returns the chances that are left [P, n]."""
        chances = epoch.probability
        weights = dict(zip(epoch.addresses, chances.mean(axis=0).tolist(), strict=True))
        before, here = self._wanted, self._everywhere() & self._wanted
        chosen = choose_live(weights, here, self.design.rack, self._rng)[: self.design.rack]
        self._wanted = {*chosen}
        for rack, cache in enumerate(self._at_racks):
            first = rack * self.fleet.per_rack
            # one that was met until now may be drawn until the new table is read: its place is free at the next refresh
            held = {*cache.loaded}
            busy = {*self._playing[first : first + self.fleet.per_rack], *before, *chosen} & held
            cache.want(chosen, busy)
            for address in cache.loaded:
                if address not in held:
                    self._arrival(rack, address, now, True)
        met = self._everywhere() & self._wanted
        left = chances * [address in met for address in epoch.addresses]
        total = left.sum(axis=1, keepdims=True)
        return np.divide(left * chances.sum(axis=1, keepdims=True), total, out=np.zeros_like(left), where=total > 0)

    def _everywhere(self) -> set[str]:
        """Return what all racks hold."""
        return set.intersection(*({*cache.loaded} for cache in self._at_racks))

    def _cache(self, capacity: int, actors: int = 1) -> Opponents:
        return Opponents(SizedBank(capacity, self._flat.size), lambda _: self._flat, lambda *_: True, actors)

    def _mark(self, now: float, begun: int) -> Mark:
        """Return where traffic stands, by the caches' own account."""
        own = sum(cache.traffic.bytes_moved for cache in self._at_actors) + self._bytes_before
        if self.design.pull_all:
            own = self._at_actors[0].traffic.pull_all_bytes + self._bytes_before
        racks = sum(cache.traffic.bytes_moved for cache in self._at_racks)
        return Mark(now, begun, len(self.waits), racks if self._at_racks else own, own if self._at_racks else 0)
