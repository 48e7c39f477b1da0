"""The names of a run's scalars, what they mean and in which unit, and metrics that users register."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfmarl.errors import UsageError, UserCodeError
from sfmarl.registry import Registry

if TYPE_CHECKING:
    from sfmarl.monitor.episodes import Episodes


@dataclass(frozen=True)
class Metric:
    """What a scalar means."""

    unit: str
    """Its unit; "1" for a pure number."""
    description: str
    """What it says, and over what it is taken."""


METRICS: dict[str, Metric] = {
    "throughput/agent_steps_per_second": Metric("agent-steps/s", "valid actions of live, learning agents"),
    "throughput/env_steps_per_second": Metric("env-steps/s", "steps of all environments"),
    "throughput/updates_per_second": Metric("updates/s", "updates of all policies"),
    "throughput/samples_times_epochs_per_second": Metric("samples/s", "samples learnt from, once per epoch"),
    "startup/first_update_seconds": Metric(
        "s", "from the call that started or resumed the run to the first update published by every policy"
    ),
    "queue/actions_wait_milliseconds": Metric("ms", "mean wait of a split for its actions, per split-step"),
    "queue/slots_wait_milliseconds": Metric("ms", "mean wait of a split for a free trajectory slot, per rollout"),
    "inference/batch_rows": Metric("agents", "mean rows of one forward pass"),
    "policy_lag/min": Metric("versions", "smallest policy lag of the samples learnt from"),
    "policy_lag/mean": Metric("versions", "mean policy lag of the samples learnt from"),
    "policy_lag/max": Metric("versions", "largest policy lag of the samples learnt from"),
    "learner/valid_fraction": Metric("1", "active share of the agent-steps in the slots learnt from"),
    "learner/dropped_slots": Metric("slots", "slots dropped because their samples were older than max_policy_lag"),
    "learner/<policy>/loss_policy": Metric("1", "policy loss: the surrogate objective with its sign turned"),
    "learner/<policy>/loss_value": Metric("1", "value loss, in normalised units if values are normalised"),
    "learner/<policy>/entropy": Metric("nats", "mean entropy of the policy over active samples"),
    "learner/<policy>/kl": Metric(
        "nats",
        "estimated KL divergence to the updated policy from the one its ratio is taken against: "
        "with V-trace the policy at the update's start, else the policy that acted",
    ),
    "learner/<policy>/clip_fraction": Metric("1", "share of samples whose ratio left the clip range"),
    "learner/<policy>/explained_variance": Metric("1", "share of the return targets' variance the critic explains"),
    "learner/<policy>/grad_norm": Metric("1", "norm of the actor's gradient before clipping"),
    "learner/<policy>/grad_norm_critic": Metric("1", "the same of the critic"),
    "learner/<policy>/lr": Metric("1", "learning rate"),
    "learner/<policy>/epochs_run": Metric("epochs", "passes over the batch until the KL limit"),
    "learner/<policy>/skipped_updates": Metric("1", "optimiser steps not taken because something was not finite"),
    "learner/<policy>/<metric>": Metric("1", "any other metric, documented by the algorithm that returns it"),
    "episode/return_team/<team>": Metric("reward", "mean undiscounted episode return, sum over the team's agents"),
    "episode/return_agent/<agent>": Metric("reward", "mean undiscounted episode return of one agent"),
    "episode/shaped_return_team/<team>": Metric("reward", "the same of shaped rewards (Config.reward), before pooling"),
    "episode/length": Metric("env-steps", "mean episode length"),
    "episodes": Metric("episodes", "episodes ended since the run began"),
    "info/<key>/<team>": Metric("1", "mean over episodes of an entry of the infos (Config.info_metrics)"),
    "eval/info/<key>/<team>": Metric("1", "evaluation: the same"),
    "env/faults": Metric("1", "faults of environments since the run began (Config.max_env_faults)"),
    "league/pool_size": Metric("snapshots", "entries of the pool, duplicates included"),
    "league/cache_hits": Metric("snapshots", "snapshots that a new match table wanted and that were live already"),
    "league/cache_misses": Metric("snapshots", "snapshots that were brought live since the run was started or resumed"),
    "league/bytes_moved": Metric("bytes", "weights of snapshots that were brought live since then"),
    "league/bytes_if_all_pulled": Metric(
        "bytes", "the same if every rollout worker had pulled every new snapshot once"
    ),
    "league/matches_live": Metric("matches", "finished matches with a learning player, evaluation matches included"),
    "league/matches_frozen": Metric("matches", "finished matches between snapshots and scripts alone"),
    "league/<player>/elo": Metric("Elo", "rating that moves with every match (K and base: --elo-k, --elo-base)"),
    "league/<player>/rating": Metric(
        "Elo", "likeliest rating given all games (Bradley-Terry), the first script at --elo-base; with every picture"
    ),
    "league/<player>/rating_low": Metric("Elo", "lower end of its 95 % interval"),
    "league/<player>/rating_high": Metric("Elo", "upper end of its 95 % interval"),
    "league/<player>/effective_opponents": Metric(
        "1", "exp(entropy) of whom the player is to meet: as many opponents met alike"
    ),
    "league/<player>/self_play": Metric("1", "probability with which it is to meet itself"),
    "league/<player>/win_rate_<opponent>": Metric(
        "1", "(wins + draws / 2) / games against the pool's oldest and newest snapshot and each script"
    ),
    "custom/<name>": Metric("1", "added by a callback, under no registered name"),
    "eval/return_team/<team>": Metric("reward", "evaluation: mean return, sum over the team's agents"),
    "eval/interval_team/<team>": Metric("reward", "evaluation: half width of that mean's 95 % interval"),
    "eval/return_agent/<agent>": Metric("reward", "evaluation: mean return of one agent"),
    "eval/length": Metric("env-steps", "evaluation: mean episode length"),
    "eval/episodes": Metric("episodes", "evaluation: episodes played"),
    "system/cpu_percent": Metric("%", "CPU time of all processes of the run; 100 = one core"),
    "system/ram_gib": Metric("GiB", "memory of all processes of the run, shared pages counted once"),
    "system/gpu_percent": Metric("%", "utilisation of the GPU as its driver reports it"),
    "system/gpu_gib": Metric("GiB", "memory in use on the GPU, other programs included"),
    "time/<role>/<category>": Metric("1", "share of the role's wall time (categories: `sfmarl.monitor.breakdown`)"),
}
"""Every scalar a run may write. Rates and means are taken over the time since the last record.

`<...>` stands for a name of that kind; more specific entries come first.
"""


_PATTERNS = [
    (re.compile("".join(".+" if part.startswith("<") else re.escape(part) for part in re.split("(<[a-z]+>)", name))), m)
    for name, m in METRICS.items()
]
_RECORD_KEYS = ("time", "wall_seconds", "env_steps", "agent_steps")


@dataclass(frozen=True)
class UserMetric:
    """A metric of the user's."""

    function: Callable[[Episodes], float] | None
    """Finished episodes, at least one -> a number; None for one that only callbacks write."""
    meaning: Metric
    """What it means."""


USER_METRICS: Registry[UserMetric] = Registry("metric", lambda metric: (metric.function,))
"""By name. Those with a function are written with every record, and as `eval/<name>` with every evaluation."""


def register_metric(
    name: str, function: Callable[[Episodes], float] | None = None, description: str = "", unit: str = "1"
) -> None:
    """Make a scalar known as `name`: documented for callbacks that write it and, with `function`, computed.

    `function` is called with the episodes that ended since the last record, and with those of every evaluation.
    Raises UsageError if the name is taken, also by this package.
    """
    if name in _RECORD_KEYS or _builtin(name) is not None:
        raise UsageError(f"metric {name!r}: the package writes a metric of this name itself. Choose another.")
    USER_METRICS.register(name, UserMetric(function, Metric(unit, description)), description)


def compute_metrics(episodes: Episodes) -> dict[str, float]:
    """Return name -> value of every registered metric that has a function; `episodes` must not be empty.

    Raises UserCodeError when one raises or returns no number.
    """
    values = {}
    for name, metric in USER_METRICS.items():
        if metric.function is not None:
            try:
                values[name] = float(metric.function(episodes))
            except Exception as error:
                raise UserCodeError(f"metric {name!r} raised {type(error).__name__}: {error}.") from error
    return values


def describe(name: str) -> Metric | None:
    """Return what the scalar `name` means; None when neither METRICS nor USER_METRICS covers it."""
    registered = USER_METRICS.get(name) or USER_METRICS.get(name.removeprefix("eval/"))
    return _builtin(name) if registered is None else registered.meaning


def _builtin(name: str) -> Metric | None:
    return next((metric for pattern, metric in _PATTERNS if pattern.fullmatch(name)), None)
