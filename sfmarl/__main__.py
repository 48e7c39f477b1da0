"""`python -m sfmarl` is the command `sfmarl`."""

import sys

from sfmarl.command.cli import main

if __name__ == "__main__":
    sys.exit(main())
