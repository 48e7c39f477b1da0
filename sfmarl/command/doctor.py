"""`sfmarl doctor`: is this machine fit for training?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from sfmarl.command.arguments import parse
from sfmarl.errors import UsageError

_LOOKS = (
    ("packages", "software", "look_at_software"),
    ("machine", "machine", "look_at_machine"),
    ("CUDA", "software", "look_at_cuda"),
    ("shared memory", "workings", "try_shared_memory"),
    ("queues", "workings", "try_queue"),
)
"""What is looked at before the training, module and function of sfmarl.doctor."""


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
    from sfmarl.doctor.report import Finding, verdict

    findings = []
    for subject, module, look, *given in (*_LOOKS, ("training", "workings", "try_training", arguments.seconds)):
        try:
            # imported when its turn comes: what cannot be has been named by then
            found = getattr(import_module(f"sfmarl.doctor.{module}"), look)(*given)
        except Exception as error:  # a doctor that falls ill himself: an import that fails, a file that is not there
            found = Finding(subject, "broken", f"{type(error).__name__}: {error}", "what is broken above comes first")
        for finding in found if isinstance(found, list) else [found]:
            findings.append(finding)
            if not arguments.json:
                print(finding, flush=True)
    ok = not any(finding.status == "broken" for finding in findings)
    if arguments.json:
        print(json.dumps({"ok": ok, "findings": [finding.to_json() for finding in findings]}))
    else:
        print(verdict(findings))
    return 0 if ok else 1
