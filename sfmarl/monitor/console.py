"""What the user sees while a run goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, TextIO

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Level = Literal["info", "warning", "error", "result"]

SHOWN_METRICS = ("loss_policy", "loss_value", "entropy", "kl", "clip_fraction", "explained_variance", "grad_norm", "lr")
"""An algorithm's metrics that are shown; the first ones of an algorithm that has none of them."""

_STYLES: dict[str, str] = {"info": "", "warning": "yellow", "error": "bold red", "result": "bold"}
_PREFIXES: dict[str, str] = {"info": "", "warning": "warning: ", "error": "error: ", "result": ""}


@dataclass(frozen=True)
class RunView:
    """The state of a run that is worth looking at."""

    env_steps: int
    """Environment steps so far."""
    wall_seconds: float
    """Seconds of training so far."""
    env_steps_per_second: float
    """Environment steps per second since the last record."""
    agent_steps_per_second: float
    """Valid agent-steps per second since the last record."""
    episodes: int = 0
    """Episodes so far."""
    returns: Mapping[str, float] = field(default_factory=dict)
    """Team -> mean return over the last 100 episodes."""
    evaluation: str = ""
    """The latest evaluation in words."""
    learner: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Policy -> short metric name -> value of its latest updates."""
    policy_lag: tuple[float, float, float] | None = None
    """Smallest, mean and largest policy lag of the samples learnt from."""
    fractions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Role -> category -> share of its time."""
    bottleneck: str = ""
    """The breakdown's sentence."""


class _SturdyConsole(RichConsole):
    """A console that falls silent when its reader is gone; rich's own would end the process."""

    def on_broken_pipe(self) -> None:
        """Print nothing any more."""
        self.quiet = True


class Console:
    """A context manager that shows a run. Nothing it is asked to print can fail the run."""

    def __init__(
        self,
        total_env_steps: int,
        quiet: bool = False,
        *,
        file: TextIO | None = None,
        line_seconds: float = 10.0,
    ) -> None:
        """Show a run of `total_env_steps` on `file` (default: standard output).

        `quiet` leaves warnings, errors and results. Without a terminal a line appears every `line_seconds`.
        """
        self._total = total_env_steps
        self._quiet = quiet
        self._rich = _SturdyConsole(file=file or sys.stdout, highlight=False, soft_wrap=True)
        self._line_seconds = line_seconds
        self._last_line = float("-inf")
        self._live: Live | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Console:
        if self._rich.is_terminal and not self._quiet:
            # what the process prints meanwhile is redirected above the table
            self._live = Live(Text("starting"), console=self._rich, refresh_per_second=4, transient=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            with _unfailing():
                self._live.stop()
            self._live = None

    def update(self, view: RunView) -> None:
        """Show `view`; without a terminal at most every `line_seconds`."""
        if self._quiet:
            return
        if self._live:
            with _unfailing():
                self._live.update(render(view, self._total))
        elif time.monotonic() - self._last_line >= self._line_seconds:
            self._last_line = time.monotonic()
            self._print(Text(summary_line(view, self._total)))

    def message(self, text: str, level: Level = "info") -> None:
        """Print `text` once, above the table if there is one; it may come from any thread."""
        if self._quiet and level == "info":
            return
        self._print(Text(_PREFIXES[level] + text, style=_STYLES[level]))

    def _print(self, text: Text) -> None:
        with self._lock, _unfailing():
            self._rich.print(text)
            self._rich.file.flush()


@contextlib.contextmanager
def _unfailing() -> Iterator[None]:
    """A closed pipe or a full disk behind standard output must not end a training run."""
    with contextlib.suppress(OSError, ValueError):
        yield


def summary_line(view: RunView, total_env_steps: int) -> str:
    """Return the run's state as one plain line."""
    parts = [
        f"[{duration(view.wall_seconds)}]",
        f"{view.env_steps:,}/{total_env_steps:,} env-steps ({_share(view, total_env_steps):.0%})",
        f"{view.agent_steps_per_second:,.0f} agent-steps/s",
        f"ETA {_eta(view, total_env_steps)}",
    ]
    parts += [f"return {team} {value:.4g}" for team, value in view.returns.items()]
    if view.evaluation:
        parts.append(f"evaluation {view.evaluation}")
    if view.policy_lag:
        parts.append(f"lag {view.policy_lag[1]:.1f}")
    return "  ".join(parts)


def render(view: RunView, total_env_steps: int) -> Group:
    """Return the run's state as a compact table under a progress bar."""
    bar = Table.grid(padding=(0, 1), expand=False)
    bar.add_row(
        ProgressBar(total=1.0, completed=_share(view, total_env_steps), width=30),
        f"{view.env_steps:,}/{total_env_steps:,} env-steps",
        f"elapsed {duration(view.wall_seconds)}",
        f"ETA {_eta(view, total_env_steps)}",
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")

    def row(title: str, text: str) -> None:
        table.add_row(title, Text(text))

    row(
        "throughput",
        f"{view.agent_steps_per_second:,.0f} agent-steps/s   {view.env_steps_per_second:,.0f} env-steps/s",
    )
    if view.returns:
        returns = "   ".join(f"{team} {value:.4g}" for team, value in view.returns.items())
        row("return", f"{returns}   (last 100 of {view.episodes:,} episodes)")
    if view.evaluation:
        row("evaluation", view.evaluation)
    for policy, metrics in view.learner.items():
        shown = [name for name in SHOWN_METRICS if name in metrics] or list(metrics)[: len(SHOWN_METRICS)]
        row(f"learner {policy}", "   ".join(f"{name} {metrics[name]:.3g}" for name in shown))
    if view.policy_lag:
        row("policy lag", "min {:.0f}   mean {:.1f}   max {:.0f}".format(*view.policy_lag))
    for role, shares in view.fractions.items():
        row(f"time {role}", "   ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    if view.bottleneck:
        row("bottleneck", view.bottleneck)
    return Group(bar, table)


def duration(seconds: float) -> str:
    """Return seconds as H:MM:SS."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _share(view: RunView, total: int) -> float:
    return min(view.env_steps / total, 1.0) if total > 0 else 1.0


def _eta(view: RunView, total: int) -> str:
    if view.env_steps_per_second <= 0:
        return "-:--:--"
    return duration(max(total - view.env_steps, 0) / view.env_steps_per_second)
