"""The command `sfmarl`, which is also `python -m sfmarl`: signals wait until there is somebody to answer them."""

import signal
import sys
import traceback

from sfmarl.errors import debugging
from sfmarl.signals import END_SIGNALS


def main() -> int:
    """Run the command that the process's arguments name and return its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)  # `guarded` lets them come
    try:
        from sfmarl.command.cli import main as command
    except ImportError as error:
        # no command is read without these packages, not even `doctor`
        if debugging(sys.argv):
            traceback.print_exception(error)
        what = f"{error.name or 'a package'} cannot be imported ({type(error).__name__}: {error})"
        print(f"sfmarl: {what}. The installation is not whole: install sfmarl again with pip.", file=sys.stderr)
        return 1
    return command()


if __name__ == "__main__":
    sys.exit(main())
