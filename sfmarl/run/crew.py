"""Who does the work: the interface the main loop sees, whether the components are processes or plain calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sfmarl.memory.words import Words


class Message(NamedTuple):
    """Something a component told the main process."""

    role: str
    """rollout | inference | learner | evaluator."""
    index: int
    """Which one."""
    kind: str
    """episodes | update | saved | evaluated | warning | started."""
    payload: Any
    """See the component."""


class Crew(Protocol):
    """The components of a run."""

    words: Words
    """Control words and counters."""

    def start(self) -> None:
        """Build and start every component."""
        ...

    def poll(self, timeout: float) -> list[Message]:
        """Return what was reported, waiting up to `timeout` seconds for the first message.

        Raises RunError naming the component that failed first, when the run cannot go on; from then on it replaces
        nothing, so that whoever is left can still be asked to save.
        """
        ...

    def drain(self) -> list[Message]:
        """Have the rollout workers step no more, and return what was said until each had told all it finished."""
        ...

    def save(self, target: Path) -> None:
        """Ask every learner to write its policy into `target`; each answers with a "saved" message."""
        ...

    def reset(self, policy: int) -> None:
        """Have a learner begin again from the weights its policy began the run with."""
        ...

    def replace(self, pid: int, reason: str) -> None:
        """Replace the rollout worker that is process `pid`, if there is one, as if it had been killed."""
        ...

    def evaluate(self, checkpoint: Path, episodes: int, seed: int, stop: Callable[[], bool] | None = None) -> None:
        """Have a checkpoint evaluated; answered, in the order in which it was asked, with an "evaluated" message.

        `stop` is asked at every step where this call itself evaluates (serial): what has been begun is given up once it
        says True.
        """
        ...

    def generators(self) -> dict[str, Any]:
        """Return, as JSON, where acting and environments are in their random streams; empty where it means nothing.

        Between processes, timing decides who draws which number: there is no place to go on from, and a resumed run
        draws streams of its own.
        """
        ...

    def pids(self) -> list[int]:
        """Return the process ids of the run, the main process's included."""
        ...

    def stop_training(self) -> list[Message]:
        """End every component but the evaluator, and return what they still had to say."""
        ...

    def stop(self, at_once: bool = False) -> list[Message]:
        """End every component and return what they still had to say; `at_once`: without giving them time for it.

        Nothing runs afterwards.
        """
        ...
