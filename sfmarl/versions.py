"""Which software produced a number."""

from __future__ import annotations

import functools
import hashlib
import importlib
import platform
import sys
from importlib import metadata
from pathlib import Path

from sfmarl import __version__
from sfmarl.config import Config
from sfmarl.envs.listed import ListedEnv
from sfmarl.envs.registry import make_env
from sfmarl.envs.single import SingleAgentEnv
from sfmarl.envs.turns import TurnEnv
from sfmarl.envs.vector import VectorEnv
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.errors import UsageError

_PACKAGES = ("torch", "numpy", "gymnasium", "pettingzoo")


def package_versions() -> dict[str, str]:
    """Return package -> version of what every run depends on."""
    versions = {"sfmarl": __version__, "python": platform.python_version()}
    return versions | {package: metadata.version(package) for package in _PACKAGES}


def env_version(config: Config, env: VectorEnv | TurnVectorEnv | TurnEnv) -> str:
    """Return `package version` of where the environment of `config` is implemented; `env` is an instance of it.

    Of a single file that belongs to no package it is the file's name and what its content hashes to.
    """
    try:
        single = make_env(config)
    except UsageError:  # a native vector environment
        return _version_of(type(env).__module__)
    try:
        inner = getattr(single, "unwrapped", single)
        while isinstance(inner, SingleAgentEnv | ListedEnv):
            inner = inner.env.unwrapped
        return _version_of(type(inner).__module__)
    finally:
        single.close()


@functools.cache
def _version_of(module: str) -> str:
    package = module.partition(".")[0]
    for distribution in metadata.packages_distributions().get(package, ()):
        return f"{distribution} {metadata.version(distribution)}"
    found = sys.modules.get(package) or importlib.import_module(package)
    stated, file = getattr(found, "__version__", None), getattr(found, "__file__", None)
    if stated or file is None or hasattr(found, "__path__"):
        return f"{package} {stated}" if stated else f"{package}, unversioned"
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return f"{Path(file).name}, SHA-256 {digest[:8]}"
