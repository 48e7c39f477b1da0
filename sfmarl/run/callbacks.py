"""Callbacks: a user's code in the main process, told what the run does while it does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sfmarl.config import Config
from sfmarl.errors import SfmarlError, UsageError, UserCodeError
from sfmarl.evaluation.result import Evaluation
from sfmarl.monitor.episodes import Episodes
from sfmarl.monitor.metrics import USER_METRICS
from sfmarl.monitor.recorder import Recorder
from sfmarl.registry import Registry, parse_call
from sfmarl.specs import EnvSpec

Scalars = Mapping[str, float]

OWN_PREFIX = "custom/"
"""Goes before scalars of callbacks whose names nobody registered."""


class Run:
    """What a callback may know of its run and ask of it."""

    def __init__(self, config: Config, env: EnvSpec, recorder: Recorder, tell: Callable[[str], None]) -> None:
        self.config: Config = config
        """The settings; changing them has no effect."""
        self.env: EnvSpec = env
        """The environment."""
        self.stop_reason: str | None = None
        """Why a callback asked the run to stop; None when none has."""
        self.tell: Callable[[str], None] = tell
        """Print a line on the console."""
        self._recorder = recorder

    @property
    def run_dir(self) -> Path:
        """The run directory."""
        return self.config.run_dir

    @property
    def env_steps(self) -> int:
        """Environment steps since the start of the run."""
        return self._recorder.env_steps

    @property
    def agent_steps(self) -> int:
        """Valid actions of live learning agents since the start of the run."""
        return self._recorder.agent_steps

    @property
    def wall_seconds(self) -> float:
        """Seconds of training since the start of the run, earlier sittings included."""
        return self._recorder.wall_seconds

    def stop(self, reason: str) -> None:
        """End the run in order, with a checkpoint and its final evaluation; `reason` goes to the summary."""
        self.stop_reason = self.stop_reason or reason


class Callback:
    """Base of callbacks: override the hooks you need.

    They run in the training loop, between two looks at the messages of the workers, which do not wait for them: what
    takes seconds delays records and checkpoints, not learning (in serial mode everything waits). An exception ends the
    run, with a checkpoint. A resumed run builds its callbacks anew.
    """

    run: Run
    """The run; set before `on_start`."""

    def on_start(self, run: Run) -> None:
        """The run begins or is resumed; no worker is at work yet."""

    def on_record(self, scalars: Scalars) -> Scalars | None:
        """A metric record is about to be written. What is returned is added to it.

        A name that `register_metric` knows stays as it is, every other one is written as `custom/<name>`.
        """

    def on_update(self, policy: str, metrics: Scalars) -> None:
        """A learner reported, about once a second: its update metrics, means since its last report."""

    def on_episodes(self, episodes: Episodes) -> None:
        """Episodes ended; rollout workers report them about once a second."""

    def on_checkpoint(self, path: Path) -> None:
        """A checkpoint is complete on disk."""

    def on_evaluation(self, evaluation: Evaluation) -> Scalars | None:
        """A periodic or final evaluation is over. What is returned is written with it, as in `on_record`."""

    def on_end(self, summary: Mapping[str, Any]) -> None:
        """The run ended in order: finished, stopped or interrupted. `summary.json` holds `summary`."""


CALLBACKS: Registry[Callable[..., Callback]] = Registry("callback")
"""What builds a callback, by name."""


def register_callback(name: str, factory: Callable[..., Callback], description: str = "") -> None:
    """Make `factory`, a Callback class or a function that returns one, known as `name`.

    Raises UsageError if the name is taken.
    """
    CALLBACKS.register(name, factory, description)


class Callbacks:
    """The callbacks of one run. After the first exception of one nobody is called any more."""

    def __init__(self, settings: Sequence[str]) -> None:
        """`settings` is Config.callbacks. Raises UsageError for one that cannot be found or built."""
        self._callbacks = [(setting, _build(setting)) for setting in settings]
        self._broken = False

    def start(self, run: Run) -> None:
        """Begin. Raises UserCodeError like all that follow."""
        for _, callback in self._callbacks:
            callback.run = run
        self._call("on_start", run)

    def record(self, scalars: Scalars) -> dict[str, float]:
        """Return what callbacks add to a record."""
        return self._call("on_record", scalars)

    def updated(self, policy: str, metrics: Scalars) -> None:
        """A learner reported."""
        self._call("on_update", policy, metrics)

    def episodes_ended(self, episodes: Episodes) -> None:
        """A rollout worker reported."""
        self._call("on_episodes", episodes)

    def saved(self, path: Path) -> None:
        """A checkpoint is complete."""
        self._call("on_checkpoint", path)

    def evaluated(self, evaluation: Evaluation) -> dict[str, float]:
        """Return what callbacks add to an evaluation's record."""
        return self._call("on_evaluation", evaluation)

    def end(self, summary: Mapping[str, Any]) -> None:
        """The run is over."""
        self._call("on_end", summary)

    def _call(self, hook: str, *args: Any) -> dict[str, float]:
        added: dict[str, float] = {}
        for setting, callback in self._callbacks:
            if self._broken:
                break
            try:
                answer = getattr(callback, hook)(*args)
                if isinstance(answer, Mapping):
                    added |= {_full_name(name): float(value) for name, value in answer.items()}
            except Exception as error:
                self._broken = True
                raise UserCodeError(
                    f"callback {setting!r} raised {type(error).__name__} in {hook}: {error}."
                ) from error
        return added


def _full_name(name: str) -> str:
    return name if name in USER_METRICS or name.startswith(OWN_PREFIX) else OWN_PREFIX + name


def _build(setting: str) -> Callback:
    name, kwargs = parse_call(setting)
    factory = CALLBACKS.find_callable(name)
    try:
        callback = factory(**kwargs)
    except SfmarlError:
        raise
    except Exception as error:
        raise UsageError(f"callback {setting!r} could not be built: {type(error).__name__}: {error}.") from error
    if not isinstance(callback, Callback):
        raise UsageError(f"callback {setting!r} is a {type(callback).__name__}: derive it from sfmarl.Callback.")
    return callback
