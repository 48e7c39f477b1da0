"""What the learning suites train: named recipes, taken from the scripts in launch/ wherever one exists."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.config import Mode
from sfmarl.models.recurrence import RnnKind

LAUNCH = Path(__file__).resolve().parent.parent / "launch"


@dataclass(frozen=True)
class Suite:
    """Recipes that answer one question together."""

    title: str
    """Heading of the report."""
    question: str
    """What is compared, and what is expected."""
    recipes: dict[str, tuple[Callable[[], Config], str]]
    """Recipe -> (its settings but for the seed, one line about it)."""
    gate: float | None = None
    """Score that the mean over seeds has to reach."""
    optimum: float | None = None
    """Best possible score, where the question is also whether it is kept once it was reached."""


def launch_config(script: str) -> Config:
    """Return the settings of launch/`script`.py, which may name code in itself: launch/ is importable from now on."""
    if str(LAUNCH) not in sys.path:
        sys.path.append(str(LAUNCH))
    return runpy.run_path(str(LAUNCH / f"{script}.py"))["CONFIG"]


def _native(mode: Mode = "async", returns: str = "vtrace", ring: int = 2) -> Config:
    """Return MAPPO's recipe on the native spread, with one slot of every lane as the batch whatever the mode."""
    config = launch_config("spread_mappo")
    every_lane = config.num_workers * config.num_envs_per_worker * config.rollout * config.env_kwargs["N"]
    return replace(
        config,
        env="native/simple_spread",
        hp=replace(config.hp, returns=returns),
        mode=mode,
        ring=ring,
        batch_size=every_lane,
        eval_env_steps=100_000,
    )


def _sharing(sharing: str, critic: Literal["own", "state"]) -> Config:
    config = launch_config("spread_sharing")
    return replace(config, sharing=sharing, hp=replace(config.hp, critic=critic))


def _recall(mode: Mode, rnn: RnnKind) -> Config:
    """Return the recall game with small memories and large steps, where what is learned is easily lost again."""
    hp = replace(
        get_algorithm("ippo").hyperparameters(),
        **{"hidden": (16,), "actor_rnn": rnn, "critic_rnn": rnn, "rnn_size": 16},
        **{"epochs": 5, "gamma": 0.95, "lr": 3e-3, "lr_schedule": "linear"},
    )
    return Config(
        env="games/recall",
        algo="ippo",
        hp=hp,
        mode=mode,
        env_steps=120_000,
        num_workers=2,
        num_envs_per_worker=16,
        rollout=8,
        eval_env_steps=3_000,
    )


SUITES: dict[str, Suite] = {
    "spread": Suite(
        "mpe2 simple_spread, N = 3, asynchronous",
        "The scripts of launch/, recorded with `--ring 3` (the default is 2 since) and before V-trace advantages were "
        "standardised under their weights. Random play scores -80, a planner that assigns landmarks -23.",
        {
            "mappo": (lambda: launch_config("spread_mappo"), "launch/spread_mappo.py: central critic, V-trace"),
            "ippo": (lambda: launch_config("spread_ippo"), "launch/spread_ippo.py: own critic, V-trace"),
            "appo": (lambda: launch_config("spread_appo"), "launch/spread_appo.py: own critic, V-trace, 4 epochs"),
        },
        gate=-40.0,
    ),
    "async_vs_sync": Suite(
        "Asynchronous against synchronous MAPPO, native simple_spread, N = 3",
        "Same hyperparameters and the same batch (one slot of every lane): does asynchronous training with V-trace "
        "score like synchronous training, whose policy lag is 0? The learner sets the pace here, so lag is as large as "
        "the ring allows. The recipe async-gae leaves it uncorrected.",
        {
            "sync": (lambda: _native(mode="sync"), "synchronous (at lag 0 V-trace is GAE)"),
            "async-vtrace": (_native, "asynchronous, ring of two slots, lag corrected by V-trace"),
            "async-vtrace-ring3": (lambda: _native(ring=3), "the same with a ring of three slots: more lag"),
            "async-gae": (lambda: _native(returns="gae"), "ring of two slots, lag left to the clipped ratio alone"),
        },
    ),
    "recall": Suite(
        "Memory learned from late samples: games/recall, two agents",
        "Each agent must say at the end what it was shown at the beginning. The optimum, 2, takes about 5,000 "
        "env-steps to learn, a policy without memory gets 1 by chance. Is it kept for the rest of the 120,000, also at "
        "policy lag? With the trust region around each update's first policy alone (commit 9cb0ba8, "
        "`recall_one_region.json`, the same machine) async-lstm was below 90 % of it in 30, 78, 75, 3 and 30 % of the "
        "evaluations after it had been reached, and scored 1.79 ± 0.57 in the end, one seed 0.97.",
        {
            "sync-lstm": (lambda: _recall("sync", "lstm"), "synchronous, LSTM"),
            "async-lstm": (lambda: _recall("async", "lstm"), "asynchronous, LSTM, half the lanes per update"),
            "async-gru": (lambda: _recall("async", "gru"), "the same with a GRU"),
        },
        optimum=2.0,
    ),
    "sharing": Suite(
        "Parameter sharing and the central critic, native simple_spread, N = 3, asynchronous",
        "launch/spread_sharing.py and the other corners: one set of parameters that is told which agent it is, or one "
        "per agent; a critic of the team's observations, or of the agent's own.",
        {
            "full-central": (lambda: _sharing("full", "state"), "one set of parameters, central critic"),
            "full-own": (lambda: _sharing("full", "own"), "one set of parameters, each agent's critic sees its own"),
            "none-central": (lambda: _sharing("none", "state"), "one set per agent, central critics"),
            "none-own": (lambda: _sharing("none", "own"), "one set per agent, own critics: independent learners"),
        },
    ),
}
