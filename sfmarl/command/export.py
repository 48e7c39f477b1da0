"""`sfmarl export`: a run's policies as files for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sfmarl.command.arguments import parse


@dataclass
class ExportArguments:
    """Write a run's actors as TorchScript or ONNX: stored observation (and mask, and the agent's index) to greedy
    action and logits or mean. Each file is compared with sfmarl.load_policy before it is kept."""

    run_dir: Path
    """Run or checkpoint directory."""
    format: Literal["torchscript", "onnx"] = "torchscript"
    """Format of the file; onnx needs `pip install 'sfmarl[export]'`."""
    out: Path | None = None
    """The file; of several policies each name is put before its suffix [default: RUN_DIR/export/POLICY.pt or .onnx]."""
    policy: str | None = None
    """Only this policy [default: all]."""
    checkpoint: str = "best"
    """Which checkpoint: best | latest | a checkpoint's name or path."""
    imports: tuple[str, ...] | None = None
    """Modules or .py files to import instead of those that the run's config.json names."""


def export(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse(ExportArguments, words, prog="sfmarl export")
    from sfmarl.results.export import export_run

    print(*export_run(**vars(arguments), warn=_warn), sep="\n")
    return 0


def _warn(text: str) -> None:
    print(f"sfmarl: warning: {text}", file=sys.stderr)
