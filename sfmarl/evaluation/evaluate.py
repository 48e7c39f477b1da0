"""How good policies are: whole episodes with fixed weights, means with their uncertainty."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sfmarl.config import Config
from sfmarl.envs.rebuild import RAISED
from sfmarl.envs.registry import load_spec
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.errors import RunError, SfmarlError, UsageError
from sfmarl.evaluation.animation import write_gif
from sfmarl.evaluation.evaluator import Evaluator, Player, Stopped
from sfmarl.evaluation.policy import JointPolicy, load_policy
from sfmarl.evaluation.result import Evaluation
from sfmarl.fit import differences
from sfmarl.players import learning_teams, scripted_teams
from sfmarl.seeding import seed_for
from sfmarl.specs import EnvSpec
from sfmarl.storage.checkpoint import Checkpoint
from sfmarl.storage.config_file import read_config
from sfmarl.threads import use_threads

__all__ = [
    "Evaluation",
    "Evaluator",
    "Player",
    "Stopped",
    "evaluate",
    "evaluate_checkpoint",
    "evaluate_run",
]


def evaluate(
    config: Config,
    players: Mapping[str, Player],
    episodes: int,
    seed: int,
    greedy: bool = True,
    *,
    random_baseline: bool = False,
    checkpoint: str | None = None,
    stop: Callable[[], bool] | None = None,
) -> Evaluation:
    """Play `episodes` whole episodes of the environment of `config` with fixed players, one per team.

    With `random_baseline` as many episodes are played from the same seeds in which the teams that learn act at random;
    frozen policies and scripts play on.
    `stop` is asked after every copy that is built and before every step; once it returns True the environments are
    closed and Stopped is raised. Raises UsageError and RunError like `Evaluator`.
    """
    evaluator = Evaluator(config, players, episodes, seed, greedy, stop=stop)
    baseline = None
    undo_threads = use_threads(1)
    try:
        while evaluator.run_once():
            pass
        if random_baseline:
            chance = {
                team.name: ScriptedPlayer("random", team, seed_for(seed, "random", team.name))
                for team in learning_teams(config, evaluator.spec)
            }
            others = len(chance) < len(evaluator.spec.teams)
            baseline = evaluate(config, {**players, **chance}, episodes, seed, greedy and others, stop=stop)
        return evaluator.result(checkpoint, baseline)
    finally:
        undo_threads()
        evaluator.close()


def evaluate_run(
    run_dir: str | Path,
    episodes: int = 200,
    greedy: bool = True,
    seed: int = 0,
    random_baseline: bool = False,
    checkpoint: str = "best",
    gif: str | Path | None = None,
    device: str = "cpu",
    imports: Sequence[str] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Evaluation:
    """Evaluate a checkpoint of a run on the environment its `config.json` names.

    `checkpoint` is `best` (the latest while none is marked), `latest`, a name or a path; `gif` takes one more episode
    as an animation; `imports` are modules and files to import instead of those that `config.json` names; `warn` is told
    about damaged checkpoints that were passed over (default: standard error).

    Raises UsageError when there is no such run or checkpoint, when the environment is not the one
    the policies were trained on, or when it cannot render; RunError when a checkpoint is damaged.
    """
    run_dir = Path(run_dir)
    config = read_config(run_dir / "config.json", imports)
    policy = load_policy(
        run_dir, device, checkpoint=checkpoint, seed=seed, imports=config.imports, warn=warn or _to_stderr
    )
    spec = load_spec(config)
    players = policy.by_team | scripted_teams(config, spec, seed)
    _require_fit(policy, spec, players)
    if gif is not None:
        write_gif(config, players, Path(gif), seed, greedy)
    return evaluate(
        config,
        players,
        episodes,
        seed,
        greedy,
        random_baseline=random_baseline,
        checkpoint=policy.checkpoint.path.name,
    )


def evaluate_checkpoint(
    config: Config,
    checkpoint: Path,
    episodes: int,
    seed: int,
    greedy: bool = True,
    stop: Callable[[], bool] | None = None,
) -> Evaluation:
    """Evaluate one checkpoint directory on the environment of `config`; `stop` as in `evaluate`.

    Raises RunError when the checkpoint is damaged or the environment fails, Stopped when `stop` says so.
    """
    policy = JointPolicy(Checkpoint(checkpoint), seed=seed)
    players = policy.by_team | (scripted_teams(config, load_spec(config), seed) if config.players else {})
    try:
        return evaluate(config, players, episodes, seed, greedy, checkpoint=policy.checkpoint.path.name, stop=stop)
    except (SfmarlError, Stopped):
        raise
    except RAISED as error:
        # a native environment raises what it likes
        raise RunError(f"{config.env} raised {type(error).__name__}: {error}") from error


def _to_stderr(text: str) -> None:
    print(f"sfmarl: warning: {text}", file=sys.stderr)


def _require_fit(policy: JointPolicy, spec: EnvSpec, players: Mapping[str, Player]) -> None:
    """Raise UsageError unless every team of the environment is what its policy was trained for."""
    for team in spec.teams:
        trained = policy.specs.get(team.name)
        if trained is None and team.name in players:
            continue
        if trained is None:
            raise UsageError(f"{spec.env} has a team {team.name!r}, the checkpoint only {', '.join(policy.specs)}.")
        if wrong := differences(team, trained):
            raise UsageError(
                f"{spec.env} is not the environment this checkpoint was trained on. Team {team.name!r}: "
                f"{'; '.join(wrong)}. Install the version it was trained with."
            )
