"""Fine-tuning: a new run that begins with another run's weights.

The weights are read, compared with what the new run needs, and written as its first checkpoint, at env-step 0. From
there every mode takes them the way it takes any checkpoint. Actor, critic and normaliser statistics come along;
optimiser, schedules, counters and random streams begin anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.algorithms.base import Algorithm
from sfmarl.errors import UsageError, nearest
from sfmarl.fit import differences
from sfmarl.run.plan import RunPlan
from sfmarl.seeding import seed_for
from sfmarl.specs import PolicySpec
from sfmarl.storage import checkpoint
from sfmarl.storage.checkpoint import Checkpoint, PolicyState


@dataclass(frozen=True)
class Source:
    """Where one policy's first weights come from."""

    checkpoint: Path
    """The checkpoint directory."""
    policy: str
    """The policy in it."""

    def __str__(self) -> str:
        """Return it as `init_from` takes it."""
        return f"{self.checkpoint}:{self.policy}"


@dataclass(frozen=True)
class InitialPolicies:
    """Every policy of a new run, with the weights it begins with."""

    algorithms: tuple[Algorithm, ...]
    """By policy index, on the CPU."""
    sources: dict[str, Source]
    """Policy -> where its weights come from; the others are drawn."""


def read_initial(plan: RunPlan, warn: Callable[[str], None] | None = None) -> InitialPolicies:
    """Build the policies of `plan` with the weights that its `init_from` names (the best checkpoint of a run).

    `warn` is told about damaged checkpoints that were passed over.
    Raises UsageError when there are no such runs or policies or when their weights do not fit (what differs, and the
    first tensor with the shape found and the shape expected), RunError when a checkpoint is damaged.
    """
    found = _sources(plan, warn)
    algorithms = []
    for index, (spec, learns) in enumerate(zip(plan.policies, plan.learning, strict=True)):
        # the learner's own seed: a policy without a source begins as it would in any run
        seed = seed_for(plan.config.seed, "learner", index)
        algorithm = get_algorithm(learns.algo).cls(spec, learns.hp, torch.device("cpu"), seed)
        if spec.name in found:
            opened, name = found[spec.name]
            _take_over(algorithm, spec, learns.hp, opened, opened.read_policy(name))
        algorithms.append(algorithm)
    return InitialPolicies(
        tuple(algorithms), {policy: Source(opened.path, name) for policy, (opened, name) in found.items()}
    )


def first_state(plan: RunPlan, policy: int) -> dict[str, Any]:
    """Return the state (Algorithm.state_dict) that a policy began its run with. Raises like `read_initial`."""
    spec, learns = plan.policies[policy], plan.learning[policy]
    if plan.config.init_from:
        first = checkpoint.path_of(plan.config.run_dir, 0)  # a league keeps it
        if not first.is_dir():
            return read_initial(plan).algorithms[policy].state_dict()
        return Checkpoint(first).read_policy(spec.name).algorithm_state
    seed = seed_for(plan.config.seed, "learner", policy)
    return get_algorithm(learns.algo).cls(spec, learns.hp, torch.device("cpu"), seed).state_dict()


def write_initial(plan: RunPlan, initial: InitialPolicies) -> None:
    """Write the run's checkpoint at env-step 0. Raises RunError when the disk does not take it."""
    tmp = checkpoint.begin(plan.config.run_dir, 0)
    try:
        for spec, learns, algorithm in zip(plan.policies, plan.learning, initial.algorithms, strict=True):
            checkpoint.write_policy(tmp, spec, learns.algo, learns.hp, algorithm.actor, algorithm.state_dict(), 0)
        plan.write_frozen(tmp)
        checkpoint.commit(tmp, {"env_steps": 0, "agent_steps": 0, "wall_seconds": 0.0}, plan.seats())
    except BaseException:
        checkpoint.discard(tmp)
        raise


def require_fit(plan: RunPlan, saved: Checkpoint) -> None:
    """Raise UsageError, naming what differs, unless a run can go on from its checkpoint `saved` on this environment."""
    for spec in plan.policies:
        if spec.name not in saved.policy_names:
            raise UsageError(
                f"{saved.path} holds no policy {spec.name!r}, only {', '.join(saved.policy_names)}: it is of another "
                "environment or other teams. Start a new run, with --init-from if the weights fit."
            )
        if unlike := differences(spec, saved.read_policy(spec.name).spec):
            raise UsageError(
                f"{plan.env.env} is not the environment that {saved.path} was trained on. Policy {spec.name!r}: "
                f"{'; '.join(unlike)}. Install the version it was trained with, or start a new run."
            )


def _sources(plan: RunPlan, warn: Callable[[str], None] | None) -> dict[str, tuple[Checkpoint, str]]:
    """Return policy -> (checkpoint, policy in it) for every policy that `init_from` covers."""
    asked, names = plan.config.init_from, [spec.name for spec in plan.policies]
    if isinstance(asked, str):
        path, named = _split(asked)
        opened = checkpoint.open_checkpoint(path, warn=warn)
        return {name: (opened, _policy_in(opened, named or name, bool(named), name)) for name in names}
    found = {}
    for key, text in asked.items():
        policy = _policy_called(key, plan)
        if policy in found:
            raise UsageError(f"init_from names policy {policy!r} twice. Name it once.")
        path, named = _split(text)
        opened = checkpoint.open_checkpoint(path, warn=warn)
        found[policy] = opened, _policy_in(opened, named or policy, bool(named), policy)
    return found


def _policy_called(key: str, plan: RunPlan) -> str:
    """Return the policy that a key of `init_from` means: its own name or a team's."""
    names, of_team = [spec.name for spec in plan.policies], plan.policy_of_team()
    if key in names:
        return key
    if of_team.get(key) in names:
        return of_team[key]
    raise UsageError(
        f"init_from names {key!r}, but the policies that learn in this run are {', '.join(names)}.{nearest(key, names)}"
    )


def _split(text: str) -> tuple[Path, str]:
    """Split `PATH[:POLICY]`; a colon that is part of an existing path separates nothing."""
    if not text.strip():
        raise UsageError("init_from names no directory. Give a run or a checkpoint directory.")
    path, colon, policy = text.rpartition(":")
    return (Path(path), policy) if colon and path and not os.path.exists(text) else (Path(text), "")


def _policy_in(opened: Checkpoint, name: str, named: bool, wanted: str) -> str:
    """Return `name` if the checkpoint has it; when nobody named it, its only policy will do as well."""
    held = opened.policy_names
    if name in held:
        return name
    if not named and len(held) == 1:
        return held[0]
    raise UsageError(
        f"init_from: {opened.path} holds no policy {name!r}, only {', '.join(held)}.{nearest(name, held)} "
        f"Say which one policy {wanted!r} begins with: --init-from {wanted}={opened.path}:{held[0]}"
    )


def _take_over(algorithm: Any, spec: PolicySpec, hp: Any, opened: Checkpoint, state: PolicyState) -> None:
    origin = f"policy {spec.name!r} cannot begin with {state.spec.name!r} of {opened.path}: "
    if not hasattr(algorithm, "load_weights"):
        raise UsageError(f"{origin}{type(algorithm).__name__} cannot take over weights (it has no load_weights).")
    unlike = differences(spec, state.spec, ("observation", "action"))
    if len(spec.agents) == len(state.spec.agents) and spec.parameter_set != state.spec.parameter_set:
        unlike.append(f"sharing: agents use sets {spec.parameter_set}, the policy was trained with "
                      f"{state.spec.parameter_set}")  # fmt: skip
    try:
        if not unlike:
            algorithm.load_weights(state.algorithm_state)
            return
    except (KeyError, ValueError) as error:
        unlike = [str(error.args[0]), *differences(spec, state.spec, ("agents",)), *_unlike_settings(hp, state)]
    raise UsageError(
        f"{origin}{'; '.join(unlike)}. Take a run on the same environment and with the same networks, or change this "
        "run's settings accordingly."
    )


def _unlike_settings(hp: Any, state: PolicyState) -> list[str]:
    """Return hyperparameters in which the two differ and that can shape a network: all but real numbers."""
    here, there = asdict(hp), state.hp
    return [
        f"{f.name} = {_plain(here[f.name])}, the policy was trained with {_plain(there[f.name])}"
        for f in fields(hp)
        if f.name in there and not isinstance(here[f.name], float) and _plain(here[f.name]) != _plain(there[f.name])
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
