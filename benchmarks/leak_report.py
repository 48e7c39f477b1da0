"""What `leak.py` found, as tables, a page and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import machine

MIB = 2**20


def write(record: Mapping[str, Any], folder: Path) -> None:
    """Write leak.md and leak.png."""
    (folder / "leak.md").write_text(
        "\n".join(
            [
                "# Does any process grow",
                "",
                f"Episodes of a few steps for {record['seconds'] / 60:.0f} minutes, the first "
                f"{record['warm_up'] / 60:.0f} of which do not count. RSS: all resident memory of a process, also what "
                "it shares; own: what would be free if it ended (USS). Start and end: medians of the first and last "
                "tenth, of open files the fewest of the first and of the second half. Slope: Theil-Sen, with its 95 % "
                "interval, which takes looks for independent. A process is "
                f"flat if its RSS grew by no more than {record['tolerance_mib']:g} MiB and its open files by no more "
                f"than {record['tolerance_files']}, and it was never replaced.",
                "",
                tables(record),
                "",
                "Curves: [leak.png](leak.png).",
                "",
                f"Machine: {machine.sentence(record['machine'])}. Printed by `{record['command']}`; data in "
                "`leak.json`.",
                "",
            ]
        )
    )
    _figure(record, folder / "leak.png")


def tables(record: Mapping[str, Any]) -> str:
    """Return one table per work as Markdown, and the verdict."""
    parts = []
    for name, work in record["works"].items():
        parts += [
            f"## {name}: {work['about']}",
            "",
            f"{work['episodes']:,} episodes, {work['env_steps']:,} env-steps (`sfmarl {work['command']}`); exit code "
            f"{work['exit_code']} when it was asked to stop, {work['orphans']} processes left.",
            "",
            "| process | RSS, MiB: start | end | MiB per hour | own, MiB: start | end | MiB per hour "
            "| shared memory, MiB | open files | threads | flat |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(_row(process, found) for process, found in work["processes"].items()),
            "",
        ]
    verdict = "Flat." if record["flat"] else "NOT flat."
    # nobody looked when older records were made
    left = f"; in TMPDIR {len(record['tmp_left'])} files were left" if "tmp_left" in record else ""
    parts.append(
        f"{verdict} In /dev/shm lay at most {record['shm_bytes_most']:,} bytes more than before, and "
        f"{record['shm_bytes_left']:,} at the end{left}."
    )
    return "\n".join(parts)


def _row(name: str, found: Mapping[str, Any]) -> str:
    rss, own = (_in_mib(found[quantity]) for quantity in ("rss", "uss"))
    shared, files, threads = (found[quantity] for quantity in ("shared", "files", "threads"))
    yes = "yes" if found["flat"] else f"NO ({found['lives']} lives)" if found["lives"] > 1 else "NO"
    return (
        f"| {name} | {rss} | {own} | {shared['start'] / MIB:.1f} to {shared['end'] / MIB:.1f} "
        f"| {files['start']:.0f} to {files['end']:.0f} | {threads['start']:.0f} to {threads['end']:.0f} | {yes} |"
    )


def _in_mib(growth: Mapping[str, float]) -> str:
    start, end = (growth[key] / MIB for key in ("start", "end"))
    # + 0.0: a fit's rounding may be a negative zero
    slope, low, high = (round(growth[key] / MIB, 2) + 0.0 for key in ("per_hour", "low", "high"))
    return f"{start:.1f} | {end:.1f} | {slope:+.2f} ({low:+.2f} to {high:+.2f})"


def _figure(record: Mapping[str, Any], path: Path) -> None:
    """Draw each process's RSS over time, as the difference to its median after warm-up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    works = record["works"]
    figure, grid = pyplot.subplots(1, len(works), figsize=(5 * len(works), 4), squeeze=False, layout="constrained")
    try:
        for axes, (name, work) in zip(grid.flat, works.items(), strict=True):
            for process, found in work["processes"].items():
                minutes = [look[0] / 60 for look in found["looks"]]
                axes.plot(minutes, [(look[1] - found["rss"]["start"]) / MIB for look in found["looks"]], label=process)
            axes.axvspan(0, record["warm_up"] / 60, color="0.92")
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.set_title(f"{name}: {work['episodes']:,} episodes", fontsize=10)
            axes.set_xlabel("minutes (grey: warm-up)")
            axes.set_ylabel("RSS since warm-up, MiB")
            axes.legend(fontsize=7)
        figure.savefig(path, dpi=110)
    finally:
        pyplot.close(figure)
