"""The league in the main process: results in, whom everybody meets next out. Nothing here is asked for during a match.

    finished episodes --outcome--> Payoff, Elo, QualityScores                                  (league_results.py)
    learner's published weights --Role says when--> SnapshotPool, RUN/snapshots
    Payoff, pool --Role, Matchmaker--> distribution over opponents                           (league_opponents.py)
    distribution --LiveSnapshots: what is loaded--> MatchTable

Keys of players are names for those that learn and for scripts, addresses for snapshots.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sfmarl.errors import RunError, UsageError
from sfmarl.league.live_choice import choose_live
from sfmarl.league.matchmakers import make_matchmaker
from sfmarl.league.pool import PoolEntry, SnapshotPool, make_eviction_rule
from sfmarl.league.roles import Role, SnapshotRule, make_role
from sfmarl.league.snapshot import SnapshotMeta, address_of
from sfmarl.league.store import FOLDER, AddressStore, DirectoryStore, SnapshotStore
from sfmarl.memory.match_table import EMPTY, Matches
from sfmarl.memory.plane import DataPlane
from sfmarl.monitor.episodes import Episodes
from sfmarl.run.league_opponents import Pairing, restricted
from sfmarl.run.league_results import Results
from sfmarl.run.league_seeds import seed_store
from sfmarl.run.live_snapshots import LiveSnapshots
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import generator_state, restore_generator, seed_for
from sfmarl.storage.checkpoint_reader import read_run_state
from sfmarl.workers.match_seating import LIVE

REFRESH_ENV_STEPS = 5_000
"""Env-steps after which the match table is made anew, at the latest with every snapshot."""
EVALUATION_MATCHES = 16
"""Kinds of evaluation matches that workers choose from at a time."""
EARLIEST = 4
"""Who beats everybody is snapshotted after 1 / EARLIEST of `snapshot_env_steps` at the earliest."""
MIN_GAMES = 10
"""Games against each opponent before a win rate brings a snapshot forward."""


def rehearse(plan: RunPlan, past: Mapping[str, Any] | None = None) -> None:
    """Do what a league does before its first match, and keep nothing of it: what cannot be is told before it costs.

    `past` is the league's part of the checkpoint that is resumed. Raises UsageError for pools that cannot be seeded and
    snapshots of a resumed pool that are gone or damaged, UserCodeError for a matchmaker or eviction rule that fails.
    """
    if past:
        pool = _control_plane(plan, DirectoryStore(plan.config.run_dir / FOLDER))[1]
        try:
            pool.load_state_dict(past["pool"])
            pool.check()
        except RunError as error:
            run_dir = plan.config.run_dir
            raise UsageError(
                f"The league cannot go on: {error} If there is no copy, delete it and begin a new league with what is "
                f"left: --init-from {run_dir} --seed-pool {run_dir}."
            ) from error
        return
    _, pool, results, pairing = _control_plane(plan, AddressStore())
    for entry in _seed(plan, pool):
        results.enter(entry.address, entry.meta.player)
    pairing.wanted()


def _control_plane(plan: RunPlan, store: SnapshotStore) -> tuple[list[Role], SnapshotPool, Results, Pairing]:
    """Return the parts of a league that know nothing of memory and processes."""
    settings, teams = plan.config.league, plan.env.teams
    matchmaker = make_matchmaker(settings.matchmaker)
    rule = SnapshotRule(
        settings.snapshot_env_steps // EARLIEST, settings.snapshot_env_steps, settings.snapshot_win_rate, MIN_GAMES
    )
    roles = [
        make_role(role, rule, matchmaker, seed_for(plan.config.seed, "role", name))
        for name, role in settings.roles.items()
    ]
    pool = SnapshotPool(store, json.loads(plan.architecture), settings.pool_size, make_eviction_rule(settings.eviction))
    results = Results(settings, len(teams), len(teams[0].agents))
    return roles, pool, results, Pairing(settings, roles, matchmaker, pool, results)


def _seed(plan: RunPlan, pool: SnapshotPool) -> list[PoolEntry]:
    """Have the pool begin with what the settings name. Raises UsageError."""
    return pool.seed(*(seed_store(source, plan.architecture) for source in plan.config.league.seed_pool))


class League:
    """One run's league."""

    def __init__(
        self,
        plan: RunPlan,
        plane: DataPlane,
        past: dict[str, Any],
        tell: Callable[[str], None],
        reset: Callable[[int], None],
    ) -> None:
        """`past` is the league's part of the checkpoint that is resumed, empty for a new run.

        `reset` has a player's learner begin again from its first weights.
        Raises what `rehearse` raises, which is to be called before anything is created.
        """
        settings = plan.config.league
        self._plan, self._plane, self._tell, self._reset = plan, plane, tell, reset
        self.settings = settings
        self.names = [policy.name for policy in plan.policies]
        folder = plan.config.run_dir / FOLDER
        # a link leads to where others may have theirs
        store = DirectoryStore(folder, shared=folder.is_symlink())
        self.roles, self.pool, self.results, self.pairing = _control_plane(plan, store)
        self._named: dict[str, set[str]] = {}
        self.live = LiveSnapshots(plane, self._weights_of, partial(address_of, plan.architecture))
        self.bytes_if_all_pulled = 0
        """Bytes that would have moved in this sitting if every rollout worker had pulled every new snapshot once."""
        self._address: dict[int, str] = {}
        self._parents: list[str | None] = [None] * len(self.names)
        self._pinned: list[str] = []
        self._generator = np.random.default_rng(seed_for(plan.config.seed, "league"))
        self._next_refresh = 0
        if past:
            self._load(past)
        else:
            for entry in _seed(plan, self.pool):
                self._enter(entry)
        self._refresh()

    def episodes(self, episodes: Episodes) -> None:
        """Take note of finished matches. Raises UsageError when their outcome cannot be read."""
        self.results.add(episodes, self._key, self.pool.addresses)

    def look(self, env_steps: int) -> bool:
        """Snapshot who is due and make the match table anew, if `env_steps` say so.

        Returns whether somebody begins anew: until it is saved, a learner that dies would go on from before.
        """
        if env_steps < self._next_refresh:
            return False
        anew = False
        self._next_refresh = env_steps + min(REFRESH_ENV_STEPS, self.settings.snapshot_env_steps)
        for player, role in enumerate(self.roles):
            # copy first, then reset: what is frozen is what has learned
            due = role.ready(self.pairing.view(player), env_steps)
            if due and self._snapshot_or_wait(player, env_steps) is not None and role.frozen(env_steps):
                self._begin_anew(player)
                anew = True
        self._refresh()
        return anew

    def snapshot(self, player: int, env_steps: int) -> PoolEntry | None:
        """Freeze what a player has published last.

        None before its first weights, and while those are a snapshot of it that the pool holds: it has learned nothing
        since, as an exploiter whose learner has only just begun anew.
        """
        store = self._plane.weights(player)
        flat = np.empty(store.buffer.shape[1], np.float32)
        if not (version := store.read(flat)):
            return None
        name, address = self.names[player], address_of(self._plan.architecture, flat)
        if any(entry.address == address and entry.meta.player == name for entry in self.pool.entries):
            return None
        meta = SnapshotMeta(name, self.settings.roles[name], self._parents[player], env_steps, version)
        entry = self.pool.add(self._plan.architecture, flat, meta)
        self._parents[player] = entry.address
        self._enter(entry)
        self._forget_evicted()
        self._tell(f"snapshot {entry.number} of {name} at {env_steps:,} env-steps: {entry.address[:12]}")
        return entry

    def _snapshot_or_wait(self, player: int, env_steps: int) -> PoolEntry | None:
        """Freeze a player; while the disk takes no snapshot, say so and go on without: it is due again soon."""
        try:
            return self.snapshot(player, env_steps)
        except RunError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            self._tell(f"no snapshot of {self.names[player]} was taken: {error} Training goes on; it is tried again.")
            return None

    def _begin_anew(self, player: int) -> None:
        """Have a player learn from its first weights again; what it did before says nothing of it any more."""
        name = self.names[player]
        self.results.begin_anew(name)
        self._parents[player] = None
        self._reset(player)
        self._tell(f"{name} begins anew")

    def _forget_evicted(self) -> None:
        """Keep results of those alone who can still be met."""
        self.results.keep({*self.pool.addresses, *self._pinned, *self.names, *self.settings.scripts})

    def sweep(self, checkpoints: Sequence[Path]) -> list[str]:
        """Delete files of evicted snapshots that none of `checkpoints`, all that are on disk, names; return addresses.

        The newest of them is of the present state. Raises RunError when a file cannot be deleted.
        """
        named: dict[str, set[str]] = {}
        for path in checkpoints:
            if (known := self._named.get(path.name)) is None:
                try:
                    pool = read_run_state(path).get("league", {}).get("pool", {"entries": []})
                    known = {entry["address"] for entry in pool["entries"]}
                except (OSError, RunError, KeyError, TypeError, AttributeError):
                    return []  # who knows what it names
            named[path.name] = known
        self._named = named
        return self.pool.sweep(set().union(*named.values()))

    def _enter(self, entry: PoolEntry) -> None:
        self._address[entry.number] = entry.address
        self.bytes_if_all_pulled += self._plane.weights(0).buffer[0].nbytes * self._plan.plane.workers
        self.results.enter(entry.address, entry.meta.player)

    def _refresh(self) -> None:
        """Bring live what is wanted most and publish whom everybody meets."""
        spec, entries = self._plane.spec.table, self.pool.entries
        wanted = self.pairing.wanted()
        self._bring_live(entries, wanted[:, : len(entries)].mean(axis=0) + self.pairing.curiosity)
        probability = np.zeros((spec.learning, spec.columns))
        number = np.full(spec.columns, EMPTY)
        columns = self.live.columns
        for position, entry in enumerate(entries):
            # entries of one snapshot share its column
            if (column := columns.get(entry.address)) is not None:
                probability[:, column] += wanted[:, position]
                number[column] = entry.number
        first = spec.column_of_learning(0)
        probability[:, first : first + spec.learning] = wanted[:, len(entries) :]
        for player in range(spec.learning):
            probability[player] = restricted(probability[player], spec.column_of_learning(player))
        evaluation = self._evaluations(columns)
        share = self.settings.evaluation_share if len(evaluation) else 0.0
        self.live.published(self._plane.match_table().publish(Matches(probability, number, evaluation, share)))

    def _bring_live(self, entries: Sequence[PoolEntry], wanted: np.ndarray) -> None:
        """Have the snapshots live that are wanted [entries]: all, or a sample that changes a little at a time."""
        weights: dict[str, float] = {}
        for entry, weight in zip(entries, wanted.tolist(), strict=True):
            weights[entry.address] = weights.get(entry.address, 0.0) + weight
        chosen = choose_live(weights, self.live.columns, self.live.room, self._generator)
        self.live.want(chosen)
        self.live.load()
        pinned = self.live.addresses
        for address in pinned:
            self.pool.pin(address)
        for address in self._pinned:
            self.pool.unpin(address)
        self._pinned = pinned

    def _evaluations(self, live: Mapping[str, int]) -> np.ndarray:
        """Return the least certain kinds of match among those who can play now, [m, seats] columns."""
        spec = self._plane.spec.table
        column = {name: spec.column_of_learning(player) for player, name in enumerate(self.names)}
        column |= {call: spec.column_of_script(script) for script, call in enumerate(self.settings.scripts)}
        return self.pairing.evaluations(column | live, min(EVALUATION_MATCHES, spec.evaluations))

    def _key(self, identity: int) -> str:
        if identity >= 0:
            return self._address[identity]
        return [*self.names, *self.settings.scripts][LIVE - identity]

    def _weights_of(self, address: str) -> np.ndarray:
        """Read a snapshot's weights; the store compares them with their address."""
        return self.pool.store.get(address).weights

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed league needs, as JSON types."""
        return {
            "pool": self.pool.state_dict(),
            **self.results.state_dict(),
            "roles": [role.state_dict() for role in self.roles],
            "parents": self._parents,
            "next_refresh": self._next_refresh,
            "generator": generator_state(self._generator),
        }

    def _load(self, past: dict[str, Any]) -> None:
        self.pool.load_state_dict(past["pool"])
        self.results.load_state_dict(past)
        for role, state in zip(self.roles, past["roles"], strict=True):
            role.load_state_dict(state)
        self._parents = list(past["parents"])
        self._next_refresh = past["next_refresh"]
        restore_generator(self._generator, past["generator"])
        self._address = {entry.number: entry.address for entry in self.pool.entries}
