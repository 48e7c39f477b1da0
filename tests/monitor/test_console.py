from __future__ import annotations

import dataclasses
import io
import os
import re
import sys
import threading

import pytest

from sfmarl.monitor.console import Console, RunView, duration, summary_line

VIEW = RunView(
    env_steps=500_000,
    wall_seconds=3725.0,
    env_steps_per_second=1000.0,
    agent_steps_per_second=3000.0,
    episodes=20_000,
    returns={"agent": -40.25},
    evaluation="-38.1 ± 1.2",
    learner={"agent": {"loss_policy": 0.0123, "entropy": 1.5}},
    policy_lag=(0, 1.25, 4),
    fractions={"rollout": {"env": 0.5, "write": 0.5}},
    bottleneck="The learner is the bottleneck.",
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "100"), ("LINES", "40")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def screen(stream: str, height: int = 200) -> list[str]:
    """What a terminal shows after `stream`: just the control sequences that rich uses."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[\?25[lh]|\x1b\[\d*(?:;\d+)*[A-Za-z]|\r|\n|[^\x1b\r\n]+", stream):
        if token == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif token == "\r" or token.startswith("\x1b[?") or token.endswith("m"):
            continue
        elif token.endswith("A"):
            row = max(row - int(token[2:-1] or 1), 0)
        elif token == "\x1b[2K":
            lines[row] = ""
        else:
            lines[row] += token
    return [line.rstrip() for line in lines]


def test_lines_without_a_terminal_come_at_the_given_pace():
    out = io.StringIO()
    with Console(2_000_000, file=out, line_seconds=1000) as console:
        for _ in range(3):
            console.update(VIEW)
    (line,) = out.getvalue().splitlines()
    assert line == summary_line(VIEW, 2_000_000)
    for part in (
        "500,000/2,000,000 env-steps (25%)",
        "3,000 agent-steps/s",
        "ETA 0:25:00",
        "agent -40.25",
        "-38.1 ± 1.2",
    ):
        assert part in line
    assert "\x1b" not in out.getvalue()


def test_every_update_is_a_line_when_it_is_due():
    out = io.StringIO()
    with Console(2_000_000, file=out, line_seconds=0) as console:
        for _ in range(3):
            console.update(VIEW)
    assert len(out.getvalue().splitlines()) == 3


def test_messages_are_printed_as_they_are():
    out = io.StringIO()
    text = "[Errno 28] [bold]no[/bold] space in " + "/a/long/path" * 30
    with Console(1, file=out) as console:
        console.message(text, "warning")
        console.message("worker 3 restarted")
    assert out.getvalue() == f"warning: {text}\nworker 3 restarted\n"


def test_quiet_leaves_warnings_and_results():
    out = io.StringIO()
    with Console(1, quiet=True, file=out, line_seconds=0) as console:
        console.update(VIEW)
        console.message("worker 3 started")
        console.message("worker 3 died", "warning")
        console.message("return -36", "result")
    assert out.getvalue() == "warning: worker 3 died\nreturn -36\n"


def test_the_table_on_a_terminal_survives_messages_from_everywhere(terminal):
    with Console(2_000_000, file=terminal) as console:
        for step in range(5):
            console.update(dataclasses.replace(VIEW, env_steps=400_000 * step))
            other = threading.Thread(target=console.message, args=(f"worker {step} restarted", "warning"))
            other.start()
            other.join()
            print(f"printed {step}")
    shown = screen(terminal.getvalue())
    expected = [line for n in range(5) for line in (f"warning: worker {n} restarted", f"printed {n}")]
    assert [line for line in shown if line.startswith(("warning", "printed"))] == expected
    table = shown[shown.index("printed 4") + 1 :]
    assert "1,600,000/2,000,000 env-steps" in table[0]
    assert "ETA 0:06:40" in table[0]
    text = "\n".join(table)
    for part in ("3,000 agent-steps/s", "agent -40.25", "last 100 of 20,000", "-38.1 ± 1.2", "loss_policy 0.0123",
                 "max 4", "env 50%", "The learner is the bottleneck."):  # fmt: skip
        assert text.count(part) == 1
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({"rho_mean": 1.0, "kl": 0.02, "loss_policy": 0.5}, ["loss_policy 0.5   kl 0.02"]),
        ({"td_error": 2.0, "epsilon": 0.1}, ["td_error 2   epsilon 0.1"]),
    ],
)
def test_only_metrics_worth_a_look_are_shown(terminal, metrics, shown):
    with Console(2_000_000, file=terminal) as console:
        console.update(dataclasses.replace(VIEW, learner={"agent": metrics}))
    lines = [line for line in screen(terminal.getvalue()) if line.startswith("learner agent")]
    assert [line.removeprefix("learner agent").strip() for line in lines] == shown


def test_standard_output_is_given_back(terminal):
    before = sys.stdout, sys.stderr
    with Console(1, file=terminal):
        pass
    assert (sys.stdout, sys.stderr) == before


def test_a_run_that_has_only_begun(terminal):
    empty = RunView(env_steps=0, wall_seconds=0.0, env_steps_per_second=0.0, agent_steps_per_second=0.0)
    with Console(10, file=terminal) as console:
        console.update(empty)
    assert "ETA -:--:--" in terminal.getvalue()
    assert "ETA -:--:--" in summary_line(empty, 10)


def test_a_reader_that_went_away_does_not_end_the_run():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        with Console(2_000_000, file=pipe, line_seconds=0) as console:
            for _ in range(3):
                console.update(VIEW)
                console.message("still here", "error")
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)


def test_a_full_disk_behind_standard_output_does_not_end_the_run():
    with open("/dev/full", "w") as full:
        with Console(2_000_000, file=full, line_seconds=0) as console:
            console.update(VIEW)
            console.message("still here", "error")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_durations():
    assert [duration(s) for s in (0, 59.9, 61, 3600 * 30 + 125)] == ["0:00:00", "0:00:59", "0:01:01", "30:02:05"]
