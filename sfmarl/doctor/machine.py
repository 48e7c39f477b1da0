"""The machine, or what a container shows of it: cores, memory, limits. Needs no torch."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

import psutil

from sfmarl.doctor.report import Finding
from sfmarl.memory.cgroup import cpu_quota, memory_limit, process_headroom
from sfmarl.memory.segment import available_bytes

SHM = Path("/dev/shm")
"""Where programs put shared memory by name."""
BUSY_PERCENT = 10.0
"""From which other programs are worth a warning."""
FEW_DESCRIPTORS = 1024
"""Open files that a process may have on most systems: enough for a hundred processes of a run."""
FEW_PROCESSES = 64
"""Processes and threads that even a small run may come to, numerical libraries' threads included."""
SMALL_SHM = 16 << 20
"""Bytes of /dev/shm that an environment's own processes may come to need."""
SMALL_MEMORY = 2 << 30
"""Bytes: every process of a run has torch in it."""

_GIB = 1 << 30


def look_at_machine() -> list[Finding]:
    """Return what was found of the machine."""
    return [_platform(), _cores(), _memory(), _shm(), _open_files(), _processes()]


def _platform() -> Finding:
    system, machine = platform.system(), platform.machine()
    found = f"{system} {platform.release()}, {machine}"
    facts = {"system": system, "release": platform.release(), "machine": machine}
    if system != "Linux":
        return Finding("platform", "broken", found, "memfd, eventfd and the fork server need Linux", facts)
    if machine not in ("x86_64", "AMD64"):
        advice = "shared words rely on the order in which x86-64 writes; other processors are not tested"
        return Finding("platform", "warning", found, advice, facts)
    return Finding("platform", "ok", found, facts=facts)


def _cores() -> Finding:
    there, usable, quota = os.cpu_count() or 1, len(os.sched_getaffinity(0)), cpu_quota()
    busy = psutil.cpu_percent(interval=1.0)
    facts = {"cores": there, "usable": usable, "quota": quota, "busy_percent": busy}
    found = f"{usable} of {there} usable, " + ("no quota" if quota is None else f"a quota of {quota:g}")
    if quota is not None and quota < usable:
        # a run counts what it may be scheduled on: with more processes than the quota all of them are held up together
        workers = max(2, round(quota))
        return Finding(
            "cores", "warning", found, f"give --num-workers {workers}, or raise the container's quota", facts
        )
    if usable == 1:
        advice = "stepping, acting and learning cannot overlap on one core: allow more, or take --inference local"
        return Finding("cores", "warning", found, advice, facts)
    if busy > BUSY_PERCENT:
        advice = "runs and the measurements below are slower for it; look with top"
        return Finding("cores", "warning", f"{found}; other programs take {busy:.0f} % of the machine", advice, facts)
    return Finding("cores", "ok", found, facts=facts)


def _memory() -> Finding:
    memory, limit, available = psutil.virtual_memory(), memory_limit(), available_bytes()
    facts = {"total": memory.total, "available": available, "limit": limit, "swap": psutil.swap_memory().total}
    held = "no limit" if limit is None else f"a limit of {limit / _GIB:.1f} GiB"
    found = f"{available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB available, {held}"
    if available < SMALL_MEMORY:
        advice = "end other programs or raise the container's limit; `sfmarl train ENV --dry-run` says what a run takes"
        return Finding("memory", "warning", found, advice, facts)
    return Finding("memory", "ok", found, facts=facts)


def _shm() -> Finding:
    unneeded = "slots, weights and queues lie elsewhere"
    try:
        usage = os.statvfs(SHM)
    except OSError as error:
        advice = "if an environment has processes of its own, mount a tmpfs there"
        return Finding("/dev/shm", "warning", f"{error.strerror}; {unneeded}", advice)
    total, free = usage.f_blocks * usage.f_frsize, usage.f_bavail * usage.f_frsize
    found = f"{free / 2**20:,.0f} of {total / 2**20:,.0f} MiB free; {unneeded}"
    facts = {"total": total, "free": free}
    if free < SMALL_SHM:
        advice = "if an environment has processes of its own, remove files there, or docker run --shm-size 64m"
        return Finding("/dev/shm", "warning", found, advice, facts)
    return Finding("/dev/shm", "ok", found, facts=facts)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    facts = {"soft": _limit(soft), "hard": _limit(hard), "open": psutil.Process().num_fds()}
    found = f"{_words(soft)} ({_words(hard)} at most)"
    if soft != resource.RLIM_INFINITY and soft < FEW_DESCRIPTORS:
        return Finding("open files", "warning", found, f"ulimit -n {FEW_DESCRIPTORS}", facts)
    return Finding("open files", "ok", found, facts=facts)


def _processes() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    headroom, largest = process_headroom(), resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    facts = {"soft": _limit(soft), "hard": _limit(hard), "headroom": headroom, "file_size": _limit(largest)}
    found = f"{_words(soft)}{'' if headroom is None else f'; {headroom:,} left in this container'}"
    if largest != resource.RLIM_INFINITY:
        found += f"; files end at {largest / 2**20:,.0f} MiB"
    limits = [limit for limit in (headroom, _limit(soft)) if limit is not None]
    if min(limits, default=FEW_PROCESSES) < FEW_PROCESSES:
        return Finding(
            "processes", "warning", found, f"ulimit -u {8 * FEW_PROCESSES}, or raise the container's pids limit", facts
        )
    return Finding("processes", "ok", found, facts=facts)


def _limit(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value


def _words(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}"
