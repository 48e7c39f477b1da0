"""What is installed: versions beside those that are asked for, extras, and whether torch can use a GPU."""

from __future__ import annotations

import importlib
import platform
import re
import shutil
import subprocess
import sys
import warnings
from importlib import metadata
from typing import Any

from sfmarl import __version__
from sfmarl.doctor.report import Finding

IMPORTED = {"torch": "torch", "numpy": "numpy", "faster-fifo": "faster_fifo", "gymnasium": "gymnasium",
            "pettingzoo": "pettingzoo", "psutil": "psutil", "safetensors": "safetensors",
            "tensorboard": "tensorboard"}  # fmt: skip
"""Distributions whose modules are really imported: compiled parts may be there and not load."""
DRIVER_SECONDS = 20.0
"""Patience with nvidia-smi."""

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*(?:>=\s*(?P<least>[\d.]+))?[^;]*(?:;(?P<marker>.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<extra>[\w-]+)['\"]")


def look_at_software() -> list[Finding]:
    """Return what was found of Python, the packages that every run needs, and extras."""
    found: list[Finding] = [_python()]
    needed, extras = _requirements()
    if not needed:
        advice = "pip install it, e.g. by make test; versions were not compared"
        found.append(Finding("installation", "warning", "sfmarl is not installed here, only on the path", advice))
    packages = [_package(name, least) for name, least in (needed or dict.fromkeys(IMPORTED)).items()]
    whole = [package for package in packages if package.status == "ok"]
    versions = ", ".join(f"{package.subject} {package.found}" for package in whole)
    found.append(Finding("packages", "ok", versions, facts={package.subject: package.facts for package in whole}))
    found += [package for package in packages if package.status != "ok"]
    if extras:
        found.append(_extras(extras))
    return found


def look_at_cuda() -> Finding:
    """Return what torch and the driver say of GPUs; without one that is no fault."""
    try:
        import torch
    except Exception as error:
        return Finding("CUDA", "broken", f"torch cannot be imported: {error}", "install it again")
    driver = _driver()
    facts: dict[str, Any] = {"built_for": torch.version.cuda, "driver": driver, "devices": []}
    if torch.version.cuda is None:
        found = f"torch {torch.__version__} is built without CUDA"
        if driver:
            advice = "install a torch build for CUDA, or train on the CPU"
            return Finding("CUDA", "warning", f"{found}, and there is {'; '.join(driver)}", advice, facts)
        return Finding("CUDA", "ok", f"{found}, and there is no NVIDIA driver: runs use the CPU", facts=facts)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        why = "; ".join(str(warning.message).splitlines()[0] for warning in caught)
        found = f"torch {torch.__version__} for CUDA {torch.version.cuda} sees no GPU"
        if driver:
            advice = (
                "install a newer driver or an older torch, and look at CUDA_VISIBLE_DEVICES and the container's --gpus"
            )
            there = f"the driver knows {'; '.join(driver)}"
            return Finding("CUDA", "warning", f"{found}; {there}{f' ({why})' if why else ''}", advice, facts)
        return Finding("CUDA", "ok", f"{found}, and there is no NVIDIA driver: runs use the CPU", facts=facts)
    devices = []
    for index in range(torch.cuda.device_count()):
        try:
            # a kernel that was not built for this GPU is noticed when it is called
            torch.zeros(8, 8, device=f"cuda:{index}").matmul(torch.ones(8, 8, device=f"cuda:{index}")).sum().item()
            free, total = torch.cuda.mem_get_info(index)
        except RuntimeError as error:
            text = str(error).splitlines()[0]
            advice = "install a torch build for this GPU and driver, or train with --device cpu"
            return Finding("CUDA", "broken", f"cuda:{index} does not compute: {text}", advice, facts)
        name = torch.cuda.get_device_name(index)
        devices.append(f"cuda:{index} {name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
        facts["devices"].append({"name": name, "free": free, "total": total})
    return Finding("CUDA", "ok", f"{'; '.join(devices)}; torch for CUDA {torch.version.cuda}", facts=facts)


def _python() -> Finding:
    found = f"{platform.python_version()}, sfmarl {__version__}"
    facts = {"python": platform.python_version(), "sfmarl": __version__, "executable": sys.executable}
    return Finding("Python", "ok", found, facts=facts)


def _requirements() -> tuple[dict[str, str | None], dict[str, dict[str, str | None]]]:
    """Return what sfmarl asks for: package -> least version, and the same for every extra."""
    needed: dict[str, str | None] = {}
    extras: dict[str, dict[str, str | None]] = {}
    try:
        requirements = metadata.requires("sfmarl") or []
    except metadata.PackageNotFoundError:
        return needed, extras
    for text in requirements:
        match = _REQUIREMENT.fullmatch(text.strip())
        if match is None or match["name"] == "sfmarl":
            continue
        extra = _EXTRA.search(match["marker"] or "")
        group = needed if extra is None else extras.setdefault(extra["extra"], {})
        group[match["name"]] = match["least"]
    return needed, extras


def _package(name: str, least: str | None) -> Finding:
    version = _version(name)
    facts = {"version": version, "least": least}
    if version is None:
        return Finding(
            name, "broken", "is not installed", f"pip install '{name}{f'>={least}' if least else ''}'", facts
        )
    if least and _numbers(version) < _numbers(least):
        return Finding(name, "broken", f"{version} is older than {least}", f"pip install '{name}>={least}'", facts)
    if name in IMPORTED:
        try:
            importlib.import_module(IMPORTED[name])
        except Exception as error:
            advice = f"pip install --force-reinstall {name}"
            return Finding(
                name, "broken", f"{version} cannot be imported ({type(error).__name__}: {error})", advice, facts
            )
    return Finding(name, "ok", version, facts=facts)


def _extras(extras: dict[str, dict[str, str | None]]) -> Finding:
    """Return which extras are installed whole; a package of one that is too old is worth a warning."""
    versions = {name: _version(name) for group in extras.values() for name in group}
    whole, old = [], []
    for extra, group in extras.items():
        if all(versions[name] for name in group):
            whole.append(extra)
        old += [
            f"{name} {versions[name]} (at least {least})"
            for name, least in group.items()
            if versions[name] and least and _numbers(versions[name]) < _numbers(least)
        ]
    missing = sorted(set(extras) - set(whole))
    found = f"installed: {', '.join(sorted(whole)) or 'none'}; not: {', '.join(missing) or 'none'}"
    facts = {"installed": sorted(whole), "missing": missing, "versions": {n: v for n, v in versions.items() if v}}
    if old:
        return Finding(
            "extras", "warning", found, f"too old: {', '.join(sorted(set(old)))}; install the extra again", facts
        )
    return Finding("extras", "ok", found, facts=facts)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, by which versions are ordered."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _driver() -> list[str]:
    """Return `NAME, driver VERSION` of every GPU that the driver knows; empty without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line.split(",") for line in asked.stdout.splitlines()] if asked.returncode == 0 else []
    return [f"{words[0].strip()}, driver {words[1].strip()}" for words in lines if len(words) == 2]
