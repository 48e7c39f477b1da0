"""Imported by the processes of a run: from its second checkpoint on a learner takes SLOW_SAVING seconds for its policy.

It makes the file SAVING_MARKER first.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

from sfmarl.storage import checkpoint

_write_policy, _calls = checkpoint.write_policy, itertools.count()


def write_slowly(*args):
    if next(_calls):
        Path(os.environ["SAVING_MARKER"]).touch()
        time.sleep(float(os.environ["SLOW_SAVING"]))
    return _write_policy(*args)


checkpoint.write_policy = write_slowly
