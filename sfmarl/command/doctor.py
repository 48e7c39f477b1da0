"""`sfmarl doctor`: is this machine fit for training?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sfmarl.command.arguments import parse
from sfmarl.errors import UsageError


@dataclass
class DoctorArguments:
    """Look whether this machine, container and installation are fit for training: versions, cores, memory, limits,
    CUDA, queues and a short training whose bottleneck is named. Exit code 1 when something is broken."""

    seconds: float = 5.0
    """Time for the short training, once its processes have started."""
    json: bool = False
    """Print one JSON object instead of lines."""


def doctor(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse(DoctorArguments, words, prog="sfmarl doctor")
    if not 0 < arguments.seconds < float("inf"):
        raise UsageError("doctor needs --seconds above 0.")
    from sfmarl.doctor.machine import look_at_machine
    from sfmarl.doctor.report import Finding, verdict
    from sfmarl.doctor.software import look_at_cuda, look_at_software
    from sfmarl.doctor.workings import try_queue, try_shared_memory, try_training

    looks: dict[str, Callable[[], list[Finding]]] = {
        "packages": look_at_software,
        "machine": look_at_machine,
        "CUDA": lambda: [look_at_cuda()],
        "shared memory": lambda: [try_shared_memory()],
        "queues": lambda: [try_queue()],
        "training": lambda: [try_training(arguments.seconds)],
    }
    findings = []
    for subject, look in looks.items():
        try:
            found = look()
        except Exception as error:  # a doctor that falls ill himself: an import that fails, a file that is not there
            found = [Finding(subject, "broken", f"{type(error).__name__}: {error}", "what is broken above comes first")]
        for finding in found:
            findings.append(finding)
            if not arguments.json:
                print(finding, flush=True)
    ok = not any(finding.status == "broken" for finding in findings)
    if arguments.json:
        print(json.dumps({"ok": ok, "findings": [finding.to_json() for finding in findings]}))
    else:
        print(verdict(findings))
    return 0 if ok else 1
