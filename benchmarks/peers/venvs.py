"""The peers' virtual environments: made when they are missing, left alone when they are as they should be."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from peers.measuring import PeerFailed, error_in

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"


@dataclass(frozen=True)
class Peer:
    """What a peer needs beside torch."""

    package: str
    """Its distribution on PyPI."""
    requirements: tuple[str, ...]
    """Installed with dependencies."""
    alone: tuple[str, ...] = ()
    """Installed without theirs."""


def environments() -> tuple[str, ...]:
    """Return the packages of the works' environments, in the versions that sfmarl is measured with."""
    return tuple(f"{name}=={metadata.version(name)}" for name in ("mpe2", "pettingzoo"))


def peers() -> dict[str, Peer]:
    """Return the peers by the name of their environment."""
    return {
        # It needs gymnasium below 1.0; pettingzoo asks for 1.0, but the two works run with 0.29.1, in which Sample
        # Factory's multi-agent runs do not hang.
        "sample-factory": Peer(
            "sample-factory",
            ("sample-factory==2.1.1", "numpy<2", "gymnasium==0.29.1", "pygame-ce", "scipy"),
            alone=environments(),
        ),
        "rllib": Peer("ray", ("ray[rllib]==2.60.0", *environments())),
    }


def ensure(name: str, folder: Path) -> Path:
    """Return the interpreter of peer `name` in `folder`; install it first if it is missing or of other versions.

    Raises PeerFailed when that does not work.
    """
    peer, path = peers()[name], folder / name
    python, stamp = path / "bin" / "python", path / "installed.txt"
    torch = torch_requirement()
    wanted = "\n".join([torch, *peer.requirements, *peer.alone])
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    shutil.rmtree(path, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}-install.log"
    print(f"installing {peer.requirements[0]} into {path} (some minutes)", file=sys.stderr, flush=True)
    log.write_text("")
    _run([sys.executable, "-m", "venv", str(path)], log)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    # torch first, alone, so that no other package's requirement chooses its build, and named again so that it stays
    _run([*pip, torch], log)
    _run([*pip, torch, *peer.requirements], log)
    if peer.alone:
        _run([*pip, "--no-deps", *peer.alone], log)
    stamp.write_text(wanted)
    return python


def torch_requirement() -> str:
    """Return torch's line of constraints.txt."""
    return re.search(r"^torch==[^ ;\n]+", CONSTRAINTS.read_text(), re.MULTILINE)[0]


def versions(name: str, python: Path) -> dict[str, str]:
    """Return the versions in a peer's environment that matter for speed. Raises PeerFailed if one is missing."""
    names = (peers()[name].package, "torch", "numpy", "gymnasium", "pettingzoo", "mpe2")
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True)
    if found.returncode:
        raise PeerFailed(f"{found.stderr.strip().splitlines()[-1]} Remove {python.parents[1]} to install it again.")
    return dict(zip(names, found.stdout.split(), strict=True))


def _run(command: list[str], log: Path) -> None:
    with log.open("ab") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        raise PeerFailed(f"installation failed: {error_in(log)} (all of it: {log})")
