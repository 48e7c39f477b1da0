"""Asynchronous multi-agent reinforcement learning on one machine.

>>> import sfmarl
>>> result = sfmarl.train(sfmarl.Config(env="mpe2.simple_spread_v3", env_kwargs={"N": 3}))
>>> policy = result.policy()

Public names are imported on first use, so that `import sfmarl` (and every worker process) stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfmarl.algorithms.registry import register_algorithm as register_algorithm
    from sfmarl.config import Config as Config
    from sfmarl.config import LeagueConfig as LeagueConfig
    from sfmarl.envs.registry import register_env as register_env
    from sfmarl.envs.script import register_script as register_script
    from sfmarl.errors import RunError as RunError
    from sfmarl.errors import UsageError as UsageError
    from sfmarl.evaluation.evaluate import evaluate_run as evaluate_run
    from sfmarl.evaluation.policy import load_policy as load_policy
    from sfmarl.league.matchmakers import register_matchmaker as register_matchmaker
    from sfmarl.league.pool import register_eviction_rule as register_eviction_rule
    from sfmarl.models.custom import register_model as register_model
    from sfmarl.monitor.metrics import register_metric as register_metric
    from sfmarl.results.compare import compare_runs as compare_runs
    from sfmarl.results.export import export_run as export_run
    from sfmarl.results.series import train_seeds as train_seeds
    from sfmarl.results.sweep import sweep as sweep
    from sfmarl.results.tournament import tournament as tournament
    from sfmarl.run.callbacks import Callback as Callback
    from sfmarl.run.callbacks import register_callback as register_callback
    from sfmarl.run.runner import resume as resume
    from sfmarl.run.runner import train as train
    from sfmarl.workers.shaping import register_reward as register_reward

__version__ = "0.1.0"

_HOME = {
    "Callback": "sfmarl.run.callbacks",
    "Config": "sfmarl.config",
    "LeagueConfig": "sfmarl.config",
    "RunError": "sfmarl.errors",
    "UsageError": "sfmarl.errors",
    "compare_runs": "sfmarl.results.compare",
    "evaluate_run": "sfmarl.evaluation.evaluate",
    "export_run": "sfmarl.results.export",
    "load_policy": "sfmarl.evaluation.policy",
    "register_algorithm": "sfmarl.algorithms.registry",
    "register_callback": "sfmarl.run.callbacks",
    "register_env": "sfmarl.envs.registry",
    "register_eviction_rule": "sfmarl.league.pool",
    "register_matchmaker": "sfmarl.league.matchmakers",
    "register_metric": "sfmarl.monitor.metrics",
    "register_model": "sfmarl.models.custom",
    "register_reward": "sfmarl.workers.shaping",
    "register_script": "sfmarl.envs.script",
    "resume": "sfmarl.run.runner",
    "sweep": "sfmarl.results.sweep",
    "tournament": "sfmarl.results.tournament",
    "train": "sfmarl.run.runner",
    "train_seeds": "sfmarl.results.series",
}

__all__ = [
    "Callback",
    "Config",
    "LeagueConfig",
    "RunError",
    "UsageError",
    "__version__",
    "compare_runs",
    "evaluate_run",
    "export_run",
    "load_policy",
    "register_algorithm",
    "register_callback",
    "register_env",
    "register_eviction_rule",
    "register_matchmaker",
    "register_metric",
    "register_model",
    "register_reward",
    "register_script",
    "resume",
    "sweep",
    "tournament",
    "train",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module the first time it is asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'sfmarl' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
