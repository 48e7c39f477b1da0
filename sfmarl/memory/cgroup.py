"""Limits of the container or service this process runs in: control groups of both versions, its own and those above.

    /proc/self/cgroup     0::/a/b (version 2) or 4:memory:/a/b (version 1): where it is in the tree below the mount
    CGROUP/a/b, CGROUP/a  its group and the ones around it; each may set a limit, and the tightest counts

A container often sees the mount alone, its own limits at the top, and none of the path that its parent knows it by.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Where the tree is mounted."""
MEMBERSHIP = Path("/proc/self/cgroup")

_UNLIMITED = 1 << 60
"""Version 1 says "no limit" by a number as large as this."""


def memory_headroom() -> int | None:
    """Return how many bytes the tightest memory limit leaves to this process; None when there is no limit."""
    left = []
    for folder in _groups("memory"):
        limit = _number(folder, "memory.max", "memory.limit_in_bytes")
        used = _number(folder, "memory.current", "memory.usage_in_bytes")
        if limit is None or used is None or limit >= _UNLIMITED:
            continue
        # the limit also counts cached files, which the kernel drops when memory is needed
        left.append(max(0, int(limit - used) + _cached_files(folder)))
    return min(left, default=None)


def memory_limit() -> int | None:
    """Return the tightest memory limit in bytes; None when there is none."""
    limits = (_number(folder, "memory.max", "memory.limit_in_bytes") for folder in _groups("memory"))
    return min((int(limit) for limit in limits if limit is not None and limit < _UNLIMITED), default=None)


def cpu_quota() -> float | None:
    """Return how many cores' worth of time the tightest quota allows; None when there is none."""
    quotas = []
    for folder in _groups("cpu"):
        words = _words(folder, "cpu.max")
        if not words:
            words = [*_words(folder, "cpu.cfs_quota_us"), *_words(folder, "cpu.cfs_period_us")]
        if len(words) == 2 and words[0] not in ("max", "-1"):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def process_headroom() -> int | None:
    """Return how many processes and threads the tightest limit still allows; None when there is none."""
    left = []
    for folder in _groups("pids"):
        limit, used = _number(folder, "pids.max"), _number(folder, "pids.current")
        if limit is not None and used is not None:
            left.append(max(0, int(limit - used)))
    return min(left, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups that may limit `controller`, innermost first; the mounts come last."""
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" or controller in controllers.split(","):
            mount = CGROUP / controllers if controllers else CGROUP
            inner = Path(path.lstrip("/"))
            yield from (mount / folder for folder in (inner, *inner.parents) if folder != Path("."))
    yield from (CGROUP, CGROUP / controller)


def _words(folder: Path, name: str) -> list[str]:
    try:
        return (folder / name).read_text().split()
    except OSError:
        return []


def _number(folder: Path, *names: str) -> float | None:
    """Return the number in the first of the files that there is; None for `max` and when there is none."""
    for name in names:
        if words := _words(folder, name):
            return float(words[0]) if words[0].isdigit() else None
    return None


def _cached_files(folder: Path) -> int:
    words = _words(folder, "memory.stat")
    stat = dict(zip(words[::2], words[1::2], strict=False))
    # "total_" is version 1's word for a group with those inside it
    return sum(int(stat.get(f"total_{name}", stat.get(name, 0))) for name in ("inactive_file", "active_file"))
