"""Some hundred mutated inputs; `benchmarks/fuzz.py` tries ten thousand of them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz.py"


def fuzz(folder: Path, inputs: int, seed: int) -> dict:
    """Run the script in a process of its own, which a hook watches from then on, and return what it recorded."""
    words = [sys.executable, str(SCRIPT), "--inputs", str(inputs), "--seed", str(seed), "--results", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, timeout=580)
    assert (folder / "fuzz.json").exists(), done.stderr
    recorded = json.loads((folder / "fuzz.json").read_text())
    assert done.returncode == any(kind["wrong"] for kind in recorded["kinds"].values())
    return recorded["kinds"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mutated_inputs_are_answered_in_words(tmp_path):
    kinds = fuzz(tmp_path, 120, seed=11)
    assert {name: kind["wrong"] for name, kind in kinds.items()} == {"flags": [], "config": [], "checkpoint": []}
    # inputs that are all refused at the door would prove little
    exits = {name: kind["exits"] for name, kind in kinds.items()}
    assert {"0", "2"} <= exits["flags"].keys()
    assert {"started", "2"} <= exits["config"].keys()
    assert {"0", "1", "previous"} <= exits["checkpoint"].keys()
    assert sum(kind["inputs"] for kind in kinds.values()) == 120


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_more_mutated_inputs_are_answered_in_words(tmp_path):
    assert not [kind["wrong"] for kind in fuzz(tmp_path, 1000, seed=12).values() if kind["wrong"]]


def test_the_watch_notices_what_must_not_happen(tmp_path):
    """Writing elsewhere, unpickling, starting programs, raising, hanging: the tests above rely on it."""
    script = f"""
        import os, pickle, subprocess, sys, time
        sys.path.insert(0, {str(SCRIPT.parent)!r})
        from pathlib import Path
        import fuzz_watch
        from fuzz_inputs import Executed
        here = Path({str(tmp_path)!r})
        def wrong(action, allowed=()):
            return fuzz_watch.watch(action, allowed).wrong
        assert wrong(lambda: (here / "x").write_text("")) and not wrong(lambda: (here / "x").write_text(""), [here])
        assert wrong(lambda: (here / "x").unlink()) and wrong(lambda: (here / "y").mkdir())
        assert wrong(lambda: pickle.loads(pickle.dumps(Executed())))
        assert wrong(lambda: subprocess.run(["true"]))
        assert not wrong(lambda: (here / "y").exists())
        fuzz_watch.LIMIT_SECONDS = 0.2
        assert fuzz_watch.watch(lambda: time.sleep(5)).code == "hang"
        fuzz_watch.cli.main = lambda words: 1
        assert fuzz_watch.request([]).wrong == ["it failed without a word"]
        fuzz_watch.cli.main = lambda words: 3
        assert fuzz_watch.request([]).wrong == ["exit code 3"]
        def unexpected(words):
            print("KeyError. This is not expected", file=sys.stderr)
            return 1
        fuzz_watch.cli.main = unexpected
        assert "unexpected" in fuzz_watch.request([]).wrong[0]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
