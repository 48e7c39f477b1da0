"""The command `sfmarl`, which is also `python -m sfmarl`: signals wait until there is somebody to answer them."""

import signal
import sys

from sfmarl.signals import END_SIGNALS


def main() -> int:
    """Run the command that the process's arguments name and return its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)  # `guarded` lets them come
    from sfmarl.command.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
