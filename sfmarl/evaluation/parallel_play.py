"""A tournament's matches in several processes.

Matches are dealt into batches whose size and seeds do not depend on how many processes there are: the result is a
function of the seed alone. A worker holds one end of a pipe, asks for nothing, and ends with its parent.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

import numpy as np

from sfmarl.config import Config
from sfmarl.errors import RunError, SfmarlError
from sfmarl.evaluation.contestants import Contestant
from sfmarl.evaluation.cross_play import Progress, play_matches
from sfmarl.seeding import seed_for
from sfmarl.signals import held, left_to_parent
from sfmarl.user_code import import_user_code

MOST_BATCHES, LEAST_MATCHES = 32, 64
"""Batches of a tournament, and matches of a batch: small enough to share out, large enough to act together."""


@dataclass(frozen=True)
class Play:
    """How matches are played: arguments of `play_matches`."""

    config: Config
    contestants: Sequence[Contestant]
    seed: int
    greedy: bool
    openings: int

    def batch(self, number: int, matches: np.ndarray, progress: Progress) -> np.ndarray:
        """Return the outcomes of batch `number`."""
        seed = seed_for(self.seed, "batch", number)
        return play_matches(self.config, self.contestants, matches, seed, self.greedy, self.openings, progress)


def play_all(play: Play, matches: np.ndarray, workers: int, progress: Progress) -> np.ndarray:
    """Return the outcomes [M, seats] of `matches` int64 [M, seats], played in `workers` processes (1: in this one).

    Raises like `play_matches`, and RunError when a process was killed.
    """
    count = max(1, min(MOST_BATCHES, len(matches) // LEAST_MATCHES))
    batches = [matches[number::count] for number in range(count)]
    outcomes = np.full(matches.shape, np.nan)
    workers = min(workers, count)
    if workers > 1:
        _share_out(play, batches, outcomes, workers, progress)
    else:
        for number, batch in enumerate(batches):
            outcomes[number::count] = play.batch(number, batch, progress)
    return outcomes


def _share_out(play: Play, batches: Sequence[np.ndarray], outcomes: np.ndarray, workers: int, tell: Progress) -> None:
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # the first process starts it otherwise, and it unblocks signals when it does
    # sealed: what it is made of may be defined in modules that the child imports first
    sealed = pickle.dumps(play)
    processes, busy, left = [], {}, list(range(len(batches)))
    try:
        for index in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, play.config.imports, sealed), name=f"sf-tournament-{index}", daemon=True
            )
            processes.append(process)  # first: a signal that was held back comes as soon as it has started
            with held():
                process.start()
            theirs.close()
            busy[ours] = left.pop(0)
            ours.send((busy[ours], batches[busy[ours]]))
        while busy:
            for pipe in wait(list(busy)):
                try:
                    answer = pipe.recv()
                except EOFError:
                    raise RunError(
                        "A process that played matches was killed (out of memory?). Play with fewer --workers."
                    ) from None
                if isinstance(answer, Exception):
                    raise answer
                if isinstance(answer, int):
                    tell(answer)
                    continue
                outcomes[busy.pop(pipe) :: len(batches)] = answer
                if left:
                    busy[pipe] = left.pop(0)
                    pipe.send((busy[pipe], batches[busy[pipe]]))
    finally:
        begun = [process for process in processes if process.pid is not None]
        for process in begun:
            process.kill()
        for process in begun:
            process.join()


def _work(pipe: Connection, imports: Sequence[str], sealed: bytes) -> None:
    """Play what comes through `pipe` until it is closed or the parent is gone."""
    left_to_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        import_user_code(imports)
        play: Play = pickle.loads(sealed)
        while True:
            number, matches = pipe.recv()
            pipe.send(play.batch(number, matches, pipe.send))
    except EOFError:
        return
    except SfmarlError as error:
        pipe.send(error)
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        pipe.send(RunError(f"A process that played matches failed: {told}"))


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
