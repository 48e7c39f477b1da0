"""Reading a checkpoint: every byte is compared with the manifest, nothing is executed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sfmarl.errors import RunError, SfmarlError
from sfmarl.specs import AgentId, PolicySpec
from sfmarl.storage.durable import contained, dump_json, original_name, parse_json, safe_name
from sfmarl.storage.tensors import parse_tensors

FORMAT = 1
"""Version of the layout (see `checkpoint.py`)."""

VERSIONS = 2**62
"""Versions of a policy end here: they are counted on in words of 64 bits."""

NAME = re.compile(r"step-(\d{12,18})(?:\.(\d{1,6}))?")
"""Directory name of a checkpoint: env-steps and, if there are several of the same env-steps, their number."""


@dataclass(frozen=True)
class PolicyState:
    """One policy as a checkpoint holds it."""

    spec: PolicySpec
    """What the actor and the critic are built from."""
    algo: str
    """Name of the algorithm that trained it."""
    hp: dict[str, Any]
    """The algorithm's hyperparameters as JSON types."""
    actor_tensors: dict[str, Tensor]
    """`state_dict` of the published actor, on the CPU."""
    algorithm_state: dict[str, Any]
    """What `Algorithm.load_state_dict` takes: {"tensors": ..., "scalars": ...}."""
    policy_version: int
    """Version of the published actor."""


@dataclass(frozen=True)
class Seat:
    """Who plays a team."""

    policy: str
    """Name of the policy."""
    agents: tuple[AgentId, ...]
    """The team's agents in index order."""


def read_run_state(path: Path) -> Any:
    """Return what `commit` was given for a checkpoint; the manifest is not looked at. Raises RunError, OSError."""
    file = contained(Path(path), "run.json")
    return parse_json(file.read_bytes(), file)


class Checkpoint:
    """A verified checkpoint. Every read is compared with the manifest again: what is returned is what was hashed."""

    def __init__(self, path: Path) -> None:
        """Open and verify the checkpoint directory `path`.

        Raises RunError when the manifest or any file is missing, damaged, foreign or outside the directory.
        """
        self.path = Path(path)
        try:
            self._files = self._read_manifest()
            self.policy_names: tuple[str, ...] = tuple(
                original_name(parts[1])
                for name in sorted(self._files)
                if len(parts := name.split("/")) == 3 and parts[0] == "policies" and parts[2] == "policy.json"
            )
            """Names of the policies it holds."""
            for name in self._files:
                self._read(name)
            self.run_state: Any = self._json("run.json")
            """What `commit` was given."""
            self.teams: dict[str, Seat] = self._read_teams()
            """Team -> who plays it, in seat order."""
        except (SfmarlError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RunError(f"Checkpoint {self.path} cannot be used: {in_words(error)}") from error

    @property
    def env_steps(self) -> int | None:
        """Environment steps its name states; None for a directory that was renamed."""
        match = NAME.fullmatch(self.path.name)
        return int(match[1]) if match else None

    def read_policy(self, name: str) -> PolicyState:
        """Return the policy called `name`. Raises RunError when there is none or when its files do not hold one."""
        if name not in self.policy_names:
            raise RunError(f"Checkpoint {self.path} holds no policy {name!r}, only {', '.join(self.policy_names)}.")
        folder = f"policies/{safe_name(name)}"
        try:
            about = self._json(f"{folder}/policy.json")
            if not isinstance(about["algo"], str):
                raise TypeError(f"its algorithm is {about['algo']!r}")
            if type(version := about["policy_version"]) is not int or not 0 <= version < VERSIONS:
                raise ValueError(f"its version is {version!r}")
            return PolicyState(
                spec=PolicySpec.from_json(about["spec"]),
                algo=about["algo"],
                hp=about["hp"],
                actor_tensors=self._tensors(f"{folder}/actor.safetensors"),
                algorithm_state={
                    "tensors": self._tensors(f"{folder}/learner.safetensors"),
                    "scalars": self._json(f"{folder}/learner.json"),
                },
                policy_version=version,
            )
        except (SfmarlError, OSError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise RunError(f"Policy {name!r} of checkpoint {self.path} cannot be read: {in_words(error)}") from error

    def _read_manifest(self) -> dict[str, dict[str, Any]]:
        path = contained(self.path, "manifest.json")
        if not path.is_file():
            raise RunError("it has no manifest.json, so it was never completed or is no checkpoint.")
        manifest = parse_json(path.read_bytes(), Path(path.name))
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise RunError(f"its manifest is not of format {FORMAT}; another program or version wrote it.")
        stated = manifest.pop("sha256", None)
        if stated != manifest_digest(manifest):
            raise RunError("its manifest.json is damaged.")
        return manifest["files"]

    def _read(self, name: str) -> bytes:
        """Return the file's content after comparing it with the manifest."""
        if name not in self._files:
            raise RunError(f"{name} is not part of it.")
        path = contained(self.path, name)
        if not path.is_file():
            raise RunError(f"{name} is missing.")
        data, stated = path.read_bytes(), self._files[name]
        if len(data) != stated["bytes"]:
            raise RunError(f"{name} has {len(data)} bytes instead of {stated['bytes']}.")
        if hashlib.sha256(data).hexdigest() != stated["sha256"]:
            raise RunError(f"{name} is damaged (its SHA-256 does not match the manifest).")
        return data

    def _json(self, name: str) -> Any:
        return parse_json(self._read(name), Path(name))

    def _tensors(self, name: str) -> dict[str, Tensor]:
        return parse_tensors(self._read(name), Path(name))

    def _read_teams(self) -> dict[str, Seat]:
        if "teams.json" in self._files:
            seats = {team: self._seat(team, seat) for team, seat in self._json("teams.json")}
            if not seats:
                raise ValueError("nobody plays in it")
            return seats
        specs = {name: self._json(f"policies/{safe_name(name)}/policy.json")["spec"] for name in self.policy_names}
        return {name: self._seat(name, {"policy": name, "agents": spec["agents"]}) for name, spec in specs.items()}

    def _seat(self, team: Any, seat: dict[str, Any]) -> Seat:
        policy, agents = seat["policy"], seat["agents"]
        if policy not in self.policy_names or not isinstance(agents, list):
            raise ValueError(f"team {team!r} is played by {policy!r} with agents {agents!r}")
        if not all(isinstance(agent, str | int) and not isinstance(agent, bool) for agent in agents):
            raise ValueError(f"the agents of team {team!r} are {agents!r}")
        return Seat(policy, tuple(agents))


def manifest_digest(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its own `sha256` entry."""
    return hashlib.sha256(dump_json(manifest)).hexdigest()


def in_words(error: BaseException) -> str:
    """Return what an error says to a user; low-level ones are named, because their text alone says little."""
    if isinstance(error, SfmarlError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return f"{type(error).__name__}: {error}."
