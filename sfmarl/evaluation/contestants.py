"""Who plays a tournament: policies, snapshots and scripts, read from disk without executing anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from sfmarl.envs.script import find_script
from sfmarl.errors import RunError, UsageError, nearest
from sfmarl.evaluation.policy import build_actor
from sfmarl.evaluation.requests import SNAPSHOTS, Request
from sfmarl.fit import differences
from sfmarl.league.snapshot import CLASS, Snapshot, canonical
from sfmarl.league.store import FileStore, open_store
from sfmarl.models.acting import flat_size, flatten_into
from sfmarl.models.actor import Actor
from sfmarl.models.encoders import NetConfig
from sfmarl.specs import EnvSpec, PolicySpec
from sfmarl.storage.checkpoint import Checkpoint, checkpoint_paths, open_checkpoint

Kind = Literal["checkpoint", "snapshot", "script", "mcts"]

LEAST_PREFIX = 4
"""Hex digits that name a snapshot at least."""


@dataclass(frozen=True, eq=False)
class FrozenPolicy:
    """Weights and what they are the weights of."""

    spec: PolicySpec
    """What it observes and how it acts."""
    actor: Actor
    """A network of its shape, whatever its weights."""
    flat: np.ndarray
    """float32 [flat_size]: weights and statistics."""
    kind: str
    """Equal for policies that are built alike."""


@dataclass(frozen=True, eq=False)
class Contestant:
    """Somebody who can take every seat of a game."""

    name: str
    """In tables; unique."""
    asked: str
    """How it was asked for."""
    kind: Kind
    """What it is."""
    policies: tuple[FrozenPolicy, ...] = ()
    """By seat, often the same in all; empty for who is none."""
    script: str = ""
    """What a script calls."""
    simulations: int = 0
    """Of MCTS, per move."""
    source: str = ""
    """Directory that its weights come from."""
    checkpoint: str = ""
    """Name of the checkpoint."""
    address: str = ""
    """Of a snapshot."""
    env_steps: int | None = None
    """Of its run when it was saved."""

    def to_json(self) -> dict[str, Any]:
        """Return what it is, as JSON types."""
        about = {name: getattr(self, name) for name in ("name", "kind", "source", "checkpoint", "address", "script")}
        known = {name: value for name, value in about.items() if value}
        known |= {"simulations": self.simulations} if self.simulations else {}
        return known | ({} if self.env_steps is None else {"env_steps": self.env_steps})


def read_contestants(
    requests: Sequence[Request],
    env: EnvSpec,
    snapshots: int | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Contestant]:
    """Read all players that were asked for, in their order; whatever the runs import is imported already.

    `snapshots`: at most so many of each run's that asks for all of them. `warn` is told about damaged checkpoints that
    were passed over.
    Raises UsageError for what is not there, does not fit `env`, or is asked for twice, and for damaged snapshots;
    RunError for damaged checkpoints.
    """
    found: list[Contestant] = []
    for request in requests:
        if request.run is None:
            found.append(_without_weights(request))
        elif request.which == SNAPSHOTS:
            found += _snapshots(request, env, snapshots)
        else:
            found.append(_of_run(request, env, warn))
    names = [contestant.name for contestant in found]
    for contestant in found:
        if names.count(contestant.name) > 1:
            raise UsageError(
                f"two players are called {contestant.name!r}. Name each once, or give one a name of its own: LABEL="
                f"{contestant.source or contestant.name}."
            )
    return found


def _without_weights(request: Request) -> Contestant:
    if request.simulations:
        name = request.label or f"mcts:{request.simulations}"
        return Contestant(name, request.text, "mcts", simulations=request.simulations)
    find_script(request.script)
    return Contestant(request.label or request.script, request.text, "script", script=request.script)


def _of_run(request: Request, env: EnvSpec, warn: Callable[[str], None] | None) -> Contestant:
    """Return a checkpoint, or the snapshot whose address begins with what stands behind the @."""
    which = request.which or "latest"
    names = [path.name for path in checkpoint_paths(request.run)]
    if which in ("latest", "best", *names) or (request.run / "manifest.json").is_file():
        return _checkpoint(request, open_checkpoint(request.run, which, warn), env)
    store = open_store(request.run)
    addresses = store.addresses()
    if re.fullmatch(rf"[0-9a-f]{{{LEAST_PREFIX},64}}", which):
        fits = [address for address in dict.fromkeys((*_pool(request), *addresses)) if address.startswith(which)]
        if len(fits) == 1:
            return _snapshot(request, store, fits[0], env, request.label)
        if fits:
            raise UsageError(f"{request.text!r} may be {len(fits)} snapshots. Give more of the address.")
    if addresses:
        choices = f"@{SNAPSHOTS}, an address ({', '.join(address[:8] for address in addresses[:3])}, ...)"
    else:
        choices = "(it has no snapshots)"
    raise UsageError(
        f"{request.run} has no checkpoint or snapshot {which!r}. Say @latest, @best, {choices}"
        f"{', or a checkpoint: ' + ', '.join(names) if names else ''}."
    )


def _checkpoint(request: Request, opened: Checkpoint, env: EnvSpec) -> Contestant:
    held = opened.policy_names
    if request.policy and request.policy not in held:
        raise UsageError(
            f"{opened.path} holds no policy {request.policy!r}, only {', '.join(held)}.{nearest(request.policy, held)}"
        )
    read: dict[str, FrozenPolicy] = {}
    by_seat = []
    for team in env.teams:
        seat = opened.teams.get(team.name)
        name = request.policy or (seat.policy if seat else held[0] if len(held) == 1 else "")
        if not name:
            raise UsageError(
                f"{opened.path} has no policy for seat {team.name!r} of {env.env}, only for {', '.join(opened.teams)}. "
                f"Say which one sits everywhere: {request.run}:{held[0]}."
            )
        if name not in read:
            state = opened.read_policy(name)
            read[name] = _frozen(state.spec, build_actor(state), None)
        by_seat.append(read[name])
    _require_fit(str(opened.path), env, by_seat)
    run = opened.path.parent.parent
    policy = f":{request.policy}" if request.policy else ""
    return Contestant(
        name=request.label or f"{run.resolve().name}{policy}@{_steps(opened.env_steps)}",
        asked=request.text,
        kind="checkpoint",
        policies=tuple(by_seat),
        source=str(run),
        checkpoint=opened.path.name,
        env_steps=opened.env_steps,
    )


def _snapshots(request: Request, env: EnvSpec, limit: int | None) -> list[Contestant]:
    """Return a run's snapshots, oldest first."""
    store = open_store(request.run)
    addresses = _pool(request) or store.addresses()
    if not addresses:
        raise UsageError(f"{request.run} holds no snapshots: it is no league, or has not taken one yet.")
    _require_there(store, addresses)
    with _whole():
        order = {address: store.describe(address).meta.order for address in addresses}
    addresses = sorted(addresses, key=lambda address: (order[address], address))
    if limit is not None and limit < len(addresses):
        chosen = np.unique(np.linspace(0, len(addresses) - 1, limit).round().astype(int))
        addresses = [addresses[i] for i in chosen.tolist()]
    alike: dict[str, Actor] = {}
    return [
        _snapshot(request, store, address, env, f"{request.label}@{address[:8]}" if request.label else "", alike)
        for address in addresses
    ]


def _pool(request: Request) -> list[str]:
    """Return the addresses in a league's pool, oldest first; none of a directory that is no league's."""
    if not checkpoint_paths(request.run):
        return []
    league = open_checkpoint(request.run, "latest").run_state.get("league")
    return list(dict.fromkeys(entry["address"] for entry in league["pool"]["entries"])) if league else []


@contextmanager
def _whole() -> Iterator[None]:
    """Have a snapshot that cannot be used be a UsageError: who named it can name another."""
    try:
        yield
    except RunError as error:
        raise UsageError(str(error)) from error


def _require_there(store: FileStore, addresses: Sequence[str]) -> None:
    if missing := [address for address in addresses if not store.has(address)]:
        raise UsageError(
            f"{len(missing)} of {len(addresses)} snapshots are missing in {store.where}, {missing[0]} among them. "
            "Copy them back, or name those that are there by their addresses."
        )


def _snapshot(
    request: Request, store: FileStore, address: str, env: EnvSpec, label: str, alike: dict[str, Actor] | None = None
) -> Contestant:
    """Return one snapshot; `alike` keeps a network of every architecture."""
    _require_there(store, [address])
    alike = {} if alike is None else alike
    with _whole():
        snapshot = store.get(address)
        if snapshot.architecture not in alike:
            alike[snapshot.architecture] = actor_of(snapshot, env)
    actor = alike[snapshot.architecture]
    if flat_size(actor) != len(snapshot.weights):
        raise UsageError(
            f"snapshot {address[:12]} of {store.where} has {len(snapshot.weights)} weights, and a network of its "
            f"description {flat_size(actor)}: its policy was built by an algorithm of its own. Play its checkpoints."
        )
    policy = _frozen(actor.spec, actor, snapshot.weights)
    _require_fit(f"snapshot {address[:12]} of {store.where}", env, [policy] * len(env.teams))
    meta = snapshot.meta
    return Contestant(
        name=label or f"{request.run.resolve().name}@{address[:8]}",
        asked=request.text,
        kind="snapshot",
        policies=(policy,) * len(env.teams),
        source=str(request.run),
        address=address,
        env_steps=meta.env_steps,
    )


def actor_of(snapshot: Snapshot, env: EnvSpec) -> Actor:
    """Return a network of a snapshot's architecture, its weights not loaded.

    Like every policy that is loaded it computes in float32, in whatever precision it was trained.
    Raises UsageError for a class of an algorithm's own, RunError when no network is described.
    """
    about = json.loads(snapshot.architecture)
    if own := about.get("actor", {}).get(CLASS):
        raise UsageError(
            f"snapshot {snapshot.address[:12]} has the weights of a {own}, which an algorithm of its own builds. Play "
            "checkpoints of its run."
        )
    agents = env.teams[0].agents
    try:
        sets = about["policy"]["parameter_set"]
        # names of agents do not count, their number does
        named = list(agents) if len(agents) == len(sets) else list(range(len(sets)))
        spec = PolicySpec.from_json(
            {**about["policy"], "name": snapshot.meta.player, "agents": named, "state_source": "own", "state_shape": []}
        )
        net = about["actor"] | {"hidden": tuple(about["actor"]["hidden"]), "precision": "float32"}
        return Actor(spec, NetConfig(**net))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"snapshot {snapshot.address[:12]} does not describe a network of this version "
            f"({type(error).__name__}: {error}). Use the version that wrote it."
        ) from error


def _frozen(spec: PolicySpec, actor: Actor, flat: np.ndarray | None) -> FrozenPolicy:
    """`flat` None: the actor's present weights."""
    if flat is None:
        flat = np.empty(flat_size(actor), np.float32)
        flatten_into(actor, flat)
    if type(actor) is not Actor:  # of an algorithm of the user's: nobody knows what it is like
        return FrozenPolicy(spec, actor, flat, f"{type(actor).__qualname__} {id(actor)}")
    about = spec.to_json()
    for name in ("name", "agents", "state_source", "state_shape"):
        del about[name]
    net = asdict(replace(actor.config, precision="float32"))
    return FrozenPolicy(spec, actor, flat, canonical({"policy": about, "actor": net | {"hidden": list(net["hidden"])}}))


def _require_fit(who: str, env: EnvSpec, by_seat: Sequence[FrozenPolicy]) -> None:
    for team, policy in zip(env.teams, by_seat, strict=True):
        if wrong := differences(team, policy.spec):
            raise UsageError(
                f"{who} cannot play {team.name!r} of {env.env}: {'; '.join(wrong)}. Players of a tournament come from "
                "one environment; name another one with --env."
            )


def _steps(env_steps: int | None) -> str:
    return "?" if env_steps is None else f"{env_steps:,}"
