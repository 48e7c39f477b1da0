"""The league in the main process: results in, whom everybody meets next out. Nothing here is asked for during a match.

    finished episodes --outcome--> Payoff, QualityScores
    learner's published weights --Role says when--> SnapshotPool, RUN/snapshots
    Payoff, pool --Role, Matchmaker--> distribution over opponents --LiveSnapshots: what is loaded--> MatchTable

Keys of players are names for those that learn and for scripts, addresses for snapshots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sfmarl.errors import UsageError
from sfmarl.league.live_choice import choose_live
from sfmarl.league.matchmakers import make_matchmaker
from sfmarl.league.outcome import outcome_from_returns
from sfmarl.league.payoff import Payoff
from sfmarl.league.pool import PoolEntry, SnapshotPool
from sfmarl.league.quality import QualityScores
from sfmarl.league.roles import SnapshotRule, make_role
from sfmarl.league.snapshot import SnapshotMeta
from sfmarl.league.store import FOLDER, DirectoryStore
from sfmarl.league.view import LivePlayer, View, view
from sfmarl.memory.match_table import EMPTY, Matches
from sfmarl.memory.plane import DataPlane
from sfmarl.monitor.episodes import Episodes
from sfmarl.run.live_snapshots import LiveSnapshots
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import generator_state, restore_generator, seed_for
from sfmarl.workers.match_seating import LIVE

REFRESH_ENV_STEPS = 5_000
"""Env-steps after which the match table is made anew, at the latest with every snapshot."""
EVALUATION_MATCHES = 16
"""Kinds of evaluation matches that workers choose from at a time."""
EARLIEST = 4
"""Who beats everybody is snapshotted after 1 / EARLIEST of `snapshot_env_steps` at the earliest."""
MIN_GAMES = 10
"""Games against each opponent before a win rate brings a snapshot forward."""


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
        Raises UsageError for a matchmaker that does not exist, names that clash, and pools that cannot be seeded;
        RunError when a snapshot of the checkpoint is missing.
        """
        settings = plan.config.league
        self._plan, self._plane, self._tell, self._reset = plan, plane, tell, reset
        self.settings = settings
        self.names = [policy.name for policy in plan.policies]
        if clash := set(self.names) & set(settings.scripts):
            raise UsageError(
                f"{sorted(clash)[0]!r} is a player and a script of the league. Rename the player in roles."
            )
        matchmaker = make_matchmaker(settings.matchmaker)
        rule = SnapshotRule(
            settings.snapshot_env_steps // EARLIEST, settings.snapshot_env_steps, settings.snapshot_win_rate, MIN_GAMES
        )
        self.roles = [
            make_role(role, rule, matchmaker, seed_for(plan.config.seed, "role", name))
            for name, role in settings.roles.items()
        ]
        self._seats = len(plan.env.teams)
        self._agents = len(plan.env.teams[0].agents)
        self._architecture = architecture(plan)
        self.pool = SnapshotPool(
            DirectoryStore(plan.config.run_dir / FOLDER), self._architecture, limit=settings.pool_size
        )
        self.payoff = Payoff(self._seats, settings.payoff_decay)
        self.quality = QualityScores()
        self.live = LiveSnapshots(plane, self._weights_of)
        self.matches: Counter[str] = Counter()
        """Matches played: `live` with a learning player, in whatever part, `frozen` without one."""
        self._address: dict[int, str] = {}
        self.ratings: dict[str, float] = {}
        """Key -> rating on the Elo scale, of the last record."""
        self._parents: list[str | None] = [None] * len(self.names)
        self._pinned: list[str] = []
        self._generator = np.random.default_rng(seed_for(plan.config.seed, "league"))
        self._next_refresh = 0
        self.bytes_if_all_pulled = 0
        """Bytes that would have moved if every rollout worker had pulled every snapshot that was taken."""
        if past:
            self._load(past)
        elif settings.seed_pool:
            for entry in self.pool.seed(*settings.seed_pool):
                self._enter(entry)
        self._refresh()

    def episodes(self, episodes: Episodes) -> None:
        """Take note of finished matches. Raises UsageError when their outcome cannot be read."""
        returns = episodes.returns.reshape(len(episodes.lengths), self._seats, self._agents).sum(axis=-1)
        # many matches are alike: same players, same returns
        alike, count = np.unique(np.hstack((episodes.players, returns)), axis=0, return_counts=True)
        for row, times in zip(alike, count.tolist(), strict=True):
            identities = row[: self._seats].astype(np.int64).tolist()
            live = any(LIVE >= identity > LIVE - len(self.names) for identity in identities)
            self.matches["live" if live else "frozen"] += times
            if len(set(identities)) == 1:
                continue
            outcome = outcome_from_returns(row[self._seats :])
            keys = [self._key(identity) for identity in identities]
            self.payoff.record(keys, outcome, times)
            self._note_quality(keys, outcome, times)

    def _note_quality(self, keys: Sequence[str], outcome: np.ndarray, times: int) -> None:
        """A snapshot that a learning player beat is less of a challenge than it was."""
        past = self.pool.addresses
        best = max((result for key, result in zip(keys, outcome, strict=True) if key in self.names), default=0.0)
        for key, result in zip(keys, outcome, strict=True):
            if result < best and key in past:
                self.quality.won(key, past, times)

    def look(self, env_steps: int) -> None:
        """Snapshot who is due and make the match table anew, if `env_steps` say so."""
        if env_steps < self._next_refresh:
            return
        self._next_refresh = env_steps + min(REFRESH_ENV_STEPS, self.settings.snapshot_env_steps)
        for player, role in enumerate(self.roles):
            # copy first, then reset: what is frozen is what has learned
            due = role.ready(self._view(player), env_steps)
            if due and self.snapshot(player, env_steps) is not None and role.frozen(env_steps):
                self._begin_anew(player)
        self._refresh()

    def snapshot(self, player: int, env_steps: int) -> PoolEntry | None:
        """Freeze what a player has published last; None before its first weights."""
        store = self._plane.weights(player)
        flat = np.empty(store.buffer.shape[1], np.float32)
        if not (version := store.read(flat)):
            return None
        name = self.names[player]
        meta = SnapshotMeta(name, self.settings.roles[name], self._parents[player], env_steps, version)
        entry = self.pool.add(self._architecture, flat, meta)
        self._parents[player] = entry.address
        self._enter(entry)
        self._forget_evicted()
        self.bytes_if_all_pulled += flat.nbytes * self._plan.plane.workers
        self._tell(f"snapshot {entry.number} of {name} at {env_steps:,} env-steps: {entry.address[:12]}")
        return entry

    def _begin_anew(self, player: int) -> None:
        """Have a player learn from its first weights again; what it did before says nothing of it any more."""
        name = self.names[player]
        self.payoff.keep([key for key in self.payoff.keys if key != name])
        self._parents[player] = None
        self._reset(player)
        self._tell(f"{name} begins anew")

    def _forget_evicted(self) -> None:
        """Keep results of those alone who can still be met."""
        kept = {*self.pool.addresses, *self._pinned, *self.names, *self.settings.scripts}
        if not kept.issuperset(self.payoff.keys):
            self.payoff.keep(kept)
            self.quality.keep(kept)

    def _enter(self, entry: PoolEntry) -> None:
        self._address[entry.number] = entry.address
        self.payoff.add(entry.address)
        self.quality.enter(entry.address)

    def _refresh(self) -> None:
        """Bring live what is wanted most and publish whom everybody meets."""
        spec, entries = self._plane.spec.table, self.pool.entries
        wanted = np.stack([self._opponents(player) for player in range(len(self.names))])
        self._bring_live(entries, wanted[:, : len(entries)].mean(axis=0))
        place = {entry.number: position for position, entry in enumerate(entries)}
        probability = np.zeros((spec.learning, spec.columns))
        for column in np.flatnonzero(self.live.drawable):
            # an entry that was evicted while it is live is met no more
            if (position := place.get(int(self.live.entries[column]))) is not None:
                probability[:, column] = wanted[:, position]
        first = spec.column_of_learning(0)
        probability[:, first : first + spec.learning] = wanted[:, len(entries) :]
        for player in range(spec.learning):
            self._restrict(probability[player], spec.column_of_learning(player))
        entry = np.append(self.live.entries, [EMPTY] * (spec.columns - spec.snapshots))
        evaluation = self._evaluations()
        share = self.settings.evaluation_share if len(evaluation) else 0.0
        self.live.published(self._plane.match_table().publish(Matches(probability, entry, evaluation, share)))

    def _view(self, player: int) -> View:
        live = [LivePlayer(name, role) for name, role in self.settings.roles.items()]
        return view(self.names[player], self.pool.entries, self.payoff, live, self.ratings, quality=self.quality.scores)

    def _opponents(self, player: int) -> np.ndarray:
        """Return whom a player should meet, [entries + learning players] float64."""
        chosen = self.roles[player].distribution(self._view(player))
        if self.roles[player].name == "simple":
            chosen = (1.0 - self.settings.self_play) * chosen
            chosen[len(self.pool) + player] += self.settings.self_play
        return chosen

    @staticmethod
    def _restrict(row: np.ndarray, own: int) -> None:
        """Give what is missing of a player's row to those that can be met, self-play keeping its share."""
        others = row.sum() - row[own]
        if others > 0.0:
            row *= np.where(np.arange(len(row)) == own, 1.0, (1.0 - row[own]) / others)
        else:
            row[own] = 1.0

    def _bring_live(self, entries: Sequence[PoolEntry], wanted: np.ndarray) -> None:
        """Have the entries live that are wanted: all of them, or a sample that changes a little at a time."""
        room = len(self.live.entries)
        weights = {entry.number: weight for entry, weight in zip(entries, wanted.tolist(), strict=True)}
        here = self.live.entries[self.live.drawable].tolist()
        chosen = choose_live(weights, here, room, self._generator)
        self.live.want(chosen)
        self.live.load()
        pinned = [self._address[number] for number in self.live.entries.tolist() if number != EMPTY]
        for address in pinned:
            self.pool.pin(address)
        for address in self._pinned:
            self.pool.unpin(address)
        self._pinned = pinned

    def _evaluations(self) -> np.ndarray:
        """Return the least certain kinds of match among those who can play now, [m, seats] columns."""
        spec = self._plane.spec.table
        column = {name: spec.column_of_learning(player) for player, name in enumerate(self.names)}
        column |= {call: spec.column_of_script(script) for script, call in enumerate(self.settings.scripts)}
        for live in np.flatnonzero(self.live.drawable):
            column.setdefault(self._address[int(self.live.entries[live])], int(live))
        cells = self.payoff.least_certain(list(column), min(EVALUATION_MATCHES, spec.evaluations))
        matches = np.array([[column[cell.column]] * self._seats for cell in cells], np.int64)
        for match, cell in zip(matches, cells, strict=True):
            match[cell.seat] = column[cell.row]
        return matches.reshape(-1, self._seats)

    def _key(self, identity: int) -> str:
        if identity >= 0:
            return self._address[identity]
        return [*self.names, *self.settings.scripts][LIVE - identity]

    def _weights_of(self, number: int) -> np.ndarray:
        """Read an entry's weights; the store compares them with their address."""
        return self.pool.store.get(self._address[number]).weights

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed league needs, as JSON types."""
        return {
            "pool": self.pool.state_dict(),
            "payoff": self.payoff.state_dict(),
            "quality": self.quality.state_dict(),
            "roles": [role.state_dict() for role in self.roles],
            "parents": self._parents,
            "matches": dict(self.matches),
            "next_refresh": self._next_refresh,
            "bytes_if_all_pulled": self.bytes_if_all_pulled,
            "generator": generator_state(self._generator),
        }

    def _load(self, past: dict[str, Any]) -> None:
        self.pool.load_state_dict(past["pool"])
        self.payoff.load_state_dict(past["payoff"])
        self.quality.load_state_dict(past["quality"])
        for role, state in zip(self.roles, past["roles"], strict=True):
            role.load_state_dict(state)
        self._parents = list(past["parents"])
        self.matches.update(past["matches"])
        self._next_refresh, self.bytes_if_all_pulled = past["next_refresh"], past["bytes_if_all_pulled"]
        restore_generator(self._generator, past["generator"])
        self._address = {entry.number: entry.address for entry in self.pool.entries}


def architecture(plan: RunPlan) -> dict[str, Any]:
    """Return what must agree for the weights of two players to mean the same, as JSON types."""
    spec, hp = plan.policies[0], plan.learning[0].hp
    about = spec.to_json()
    for name in ("name", "agents", "state_source", "state_shape"):
        about.pop(name, None)
    net = asdict(hp.net(hp.actor_rnn, hp.encoder))
    return {"policy": about, "actor": net | {"hidden": list(net["hidden"])}}
