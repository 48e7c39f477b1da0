"""Starting a run from a script or a command, and telling its user how it went wrong."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sfmarl.command.arguments import LeagueArguments, TrainArguments, config_of, given_settings, parse_run
from sfmarl.config import Config, default_run_dir
from sfmarl.errors import RunError, SfmarlError, UsageError, debugging
from sfmarl.signals import raised
from sfmarl.storage.durable import write_text

OUTPUT_CLOSED = 141
"""Exit code after the reader of our output went away: 128 + SIGPIPE."""


def launch(default: Config, argv: Sequence[str] | None = None) -> int:
    """Train with a script's settings, any of which the command line overrides; return the exit code.

    A launch script ends with `sys.exit(launch(Config(env=..., ...)))`.
    """

    def run(words: Sequence[str]) -> int:
        arguments = TrainArguments if default.league is None else LeagueArguments
        return start(parse_run(arguments, words, prog=Path(sys.argv[0]).name, default=default), words)

    return guarded(run, sys.argv[1:] if argv is None else argv)


def start(arguments: TrainArguments, words: Sequence[str]) -> int:
    """Train one run or, with `--seeds`, a series of them; return 0. `words` say what was given for `--auto`."""
    config = config_of(arguments)
    if arguments.dry_run:
        return describe(config, arguments)
    if arguments.auto:
        config = _tuned(config, words)
    return train_in_run_dir(config) if arguments.seeds is None else train_series(config, arguments.seeds)


def describe(config: Config, arguments: TrainArguments) -> int:
    """Print what would run (`--dry-run`); return 0. Raises RunError when the machine is too small for it."""
    if arguments.auto:
        raise UsageError("--auto measures by starting processes, and --dry-run starts none. Leave one of them out.")
    from sfmarl.run.dry_run import dry_run

    planned = dry_run(config)
    print(*planned.lines(), sep="\n")
    if arguments.seeds is not None:
        print(f"once with each of {len(arguments.seeds)} seeds, one after the other")
    planned.require_memory()
    print("Nothing was started, nothing was written.")
    return 0


def _tuned(config: Config, words: Sequence[str]) -> Config:
    """Return the settings with what is not given chosen for this machine."""
    from sfmarl.tuning.choose import TUNED
    from sfmarl.tuning.tune import tune

    def tell(text: str) -> None:
        if not config.quiet:
            print(text, flush=True)

    tuning = tune(config, given_settings(words, config, TUNED), tell=lambda text: tell(f"{text} ..."))
    tell("\n".join(tuning.lines()))
    return replace(tuning.config, hp=config.hp)


def train_in_run_dir(config: Config) -> int:
    """Train, with the run directory named beforehand so that a crash leaves its traceback there; return 0."""
    from sfmarl.run.runner import train

    if config.run_dir is None:
        config.run_dir = default_run_dir(config)
    with crash_report(config.run_dir):
        train(config)
    return 0


def train_series(config: Config, seeds: Sequence[int]) -> int:
    """Train with every seed and print the table of all; return 0."""
    from sfmarl.results.series import default_series_dir, train_seeds

    if config.run_dir is None:
        config.run_dir = default_series_dir(config, seeds)
    with crash_report(config.run_dir):
        print(train_seeds(config, seeds), f"{config.run_dir} (aggregate.json, aggregate.txt)", sep="\n")
    return 0


def guarded(run: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Return `run(argv without --debug)`; an exception becomes one message on stderr and an exit code.

    `--debug` anywhere in `argv`, or SFMARL_DEBUG=1, shows the traceback as well. SystemExit passes.
    """
    debug = debugging(argv)
    try:
        with raised():
            code = run([word for word in argv if word != "--debug"])
            sys.stdout.flush()
        return code
    except KeyboardInterrupt as error:
        # it carries the signal's number; shells know 128 + it
        failure, message, code = error, "interrupted", 128 + (error.args[0] if error.args else signal.SIGINT)
    except BrokenPipeError:
        # whoever read our output is gone (`sfmarl list | head`): nobody is left to tell, and flushing would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    except SfmarlError as error:
        failure, message, code = error, str(error), error.exit_code
    except Exception as error:
        failure, message, code = error, f"{_headline(error)}. This is not expected; --debug shows where it happened.", 1
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            # whoever looks for it first: no file that there is has this name
            message, code = f"{str(error.filename)[:80]}... cannot name a file: it is too long.", 2
    if debug:
        traceback.print_exception(failure)
    print(f"sfmarl: {message}", file=sys.stderr)
    return code


@contextmanager
def crash_report(run_dir: Path) -> Iterator[None]:
    """Turn an unexpected exception into a RunError and write its traceback to RUN/crash.txt, if RUN exists."""
    try:
        yield
    except SfmarlError:
        raise
    except Exception as error:
        path = run_dir / "crash.txt"
        try:
            write_text(path, traceback.format_exc())
        except OSError:
            raise error from None
        raise RunError(f"{_headline(error)}. This is not expected; the traceback is in {path}.") from error


def _headline(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(" .:")
