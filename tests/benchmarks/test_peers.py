"""The comparison with peers: windows, counters, process trees that end, environments that are made."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_windows_begin_and_end_with_updates_after_the_warm_up():
    from peers.windows import Reading, Windows

    windows, update, taken = Windows(warm_up=2.0, seconds=1.0), 0, []
    for tenth in range(100):
        now = tenth / 10
        # 100 steps a second, an update every .7 s from 1.4 s on, which takes 2 epochs
        update = max(update, int(now / 0.7) - 1)
        learned = 2 * 70 * update
        if windows.is_edge(now, learned):
            windows.close(Reading(now, round(100 * now), learned, cpu_seconds=1.5 * now))
            taken.append(now)

    assert windows.first_update == 1.4
    assert taken == pytest.approx([3.5, 4.9, 6.3, 7.7]), "each at the first update after it was due"
    assert windows.complete and windows.sampled_per_second() == pytest.approx([100.0] * 3)
    assert windows.learned_per_second() == pytest.approx([200.0] * 3)
    assert windows.cpu_percent() == pytest.approx(150.0)


def test_counters_of_several_processes_are_summed(tmp_path: Path, monkeypatch):
    from peers.meters import FOLDER, Meter, MeterReader

    reader = MeterReader(tmp_path)
    assert reader.read("sampled") == 0
    monkeypatch.setenv(FOLDER, str(tmp_path))
    first, second, learned = (Meter.from_environment(name) for name in ("sampled-1", "sampled-2", "learned"))
    first.add(3)
    first.add(4)
    second.add(2**40)
    learned.set(5)
    assert (reader.read("sampled"), reader.read("learned")) == (7 + 2**40, 5)
    monkeypatch.delenv(FOLDER)
    Meter.from_environment("sampled-3").add(1)
    assert reader.read("sampled") == 7 + 2**40


@pytest.mark.parametrize("name", ["spread", "dict"])
def test_works_are_those_of_the_throughput_benchmark(name: str):
    """Same environment, agents, observations and actions as sfmarl sees, and the same batch."""
    import throughput
    from peers.works import WORKS, make_env

    from sfmarl.envs.registry import load_spec

    work, config = WORKS[name], throughput.configure(name, "appo", 2, 8)
    spec, env = load_spec(config), make_env(name)

    assert (config.batch_size, config.rollout, tuple(config.hp.hidden)) == (work.batch_size, work.rollout, work.hidden)
    assert work.batch_env_steps * work.agents == work.batch_size
    assert spec.num_agents == work.agents == len(env.agents) == len(env.reset(seed=1))
    assert spec.teams[0].obs.shape == env.observation_space.shape
    assert spec.teams[0].action.nvec == (env.action_space.n,)
    assert len(env.step(dict.fromkeys(env.agents, 0))) == 5


def test_every_action_is_counted(tmp_path: Path, monkeypatch):
    from peers.meters import FOLDER, MeterReader
    from peers.works import make_env

    monkeypatch.setenv(FOLDER, str(tmp_path))
    env = make_env("dict")
    env.reset(seed=0)
    for _ in range(3):
        env.step(dict.fromkeys(env.agents, 1))
    assert MeterReader(tmp_path).read("sampled") == 3 * 8


def test_the_environment_file_needs_nothing_that_peers_lack():
    from peers.works import GAMES

    tree = ast.parse(GAMES.read_text())
    names = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names) | {
        "numpy",
        "gymnasium",
        "pettingzoo",
    }


ORPHANS = """
import subprocess, sys, time
# one that ignores SIGTERM, in a session of its own, whose parent is gone
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
middle = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}], start_new_session=True)"
subprocess.run([sys.executable, "-c", middle])
print("ready", flush=True)
time.sleep(60)
"""


def test_a_tree_is_ended_with_its_daemons(tmp_path: Path, monkeypatch):
    from peers import process_tree

    monkeypatch.setattr(process_tree, "GRACE_SECONDS", 0.2)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    log = tmp_path / "log"
    try:
        with process_tree.ProcessTree([sys.executable, "-c", ORPHANS], os.environ, log) as tree:
            deadline = time.monotonic() + 30
            while not {"1", "ready"} <= set(log.read_text().split()) and time.monotonic() < deadline:
                time.sleep(0.02)
            found = tree.processes()
            assert len(found) == 2 and tree.memory() > 1e6 and tree.cpu_seconds() > 0
        assert not [process for process in found if process.is_running()]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_driver_ends_with_the_measurement_that_was_killed():
    """Its group too: a child that would go on alone."""
    child = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    driver = (
        "from peers import parent; parent.CHECK_SECONDS = .05; parent.end_with_parent();"
        f"{child}; print(p.pid, flush=True); p.wait()"
    )
    measurement = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", measurement, driver], cwd=BENCHMARKS, stdout=subprocess.PIPE, text=True
    )
    pids = [int(killed.stdout.readline()) for _ in range(2)]
    processes = [psutil.Process(pid) for pid in pids]
    killed.kill()
    killed.wait()
    deadline = time.monotonic() + 30
    while any(map(runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(runs, processes))


def runs(process: psutil.Process) -> bool:
    """A zombie that nobody reaps does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_shared_memory_of_killed_processes_is_removed():
    from peers.process_tree import _remove_shared_memory

    own, other = (Path(f"/dev/shm/torch_{pid}_sfmarl_test") for pid in (os.getpid(), 1))
    try:
        for path in (own, other):
            path.write_bytes(b"")
        _remove_shared_memory({os.getpid()})
        assert (own.exists(), other.exists()) == (False, True)
    finally:
        for path in (own, other):
            path.unlink(missing_ok=True)


def test_a_command_is_measured_and_then_ended(tmp_path: Path):
    from peers.measuring import measure, seconds_until

    code = """
import time
from peers.meters import Meter
sampled, learned = Meter.from_environment("sampled-1"), Meter.from_environment("learned")
while True:
    time.sleep(.01)
    sampled.add(4)
    learned.add(2)
"""
    command, environment = [sys.executable, "-c", code], {"PYTHONPATH": str(BENCHMARKS)}

    found = measure(command, environment, tmp_path / "logs" / "log", warm_up=0.1, seconds=0.2)

    assert len(found["windows"]) == 3 and min(found["windows"]) <= found["agent_steps_per_second"]
    assert found["learned_per_second"] < found["agent_steps_per_second"]
    assert found["first_update_seconds"] > 0 and found["peak_memory_gib"] > 0
    assert seconds_until(10, command, environment, tmp_path / "log") > 0
    assert not [p for p in psutil.Process().children(recursive=True) if "peers.meters" in " ".join(p.cmdline())]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/nowhere/python"], "/nowhere/python: No such file"),
        ([sys.executable, "-c", "print('so far'); raise ValueError('bad luck')"], "code 1: ValueError: bad luck"),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], "code -9: it printed nothing"),
    ],
)
def test_what_fails_says_why(command: list[str], message: str, tmp_path: Path):
    from peers.measuring import PeerFailed, measure

    with pytest.raises(PeerFailed, match=message):
        measure(command, {}, tmp_path / "log", 1.0, 1.0)


def test_one_that_makes_no_updates_has_failed(tmp_path: Path, monkeypatch):
    from peers import measuring

    monkeypatch.setattr(measuring, "START_SECONDS", 0.2)
    with pytest.raises(measuring.PeerFailed, match="no update for"):
        measuring.measure([sys.executable, "-c", "import time; time.sleep(60)"], {}, tmp_path / "log", 1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("all is well\nalmost", "almost"),
        ("WARNING: old\nERROR: No matching distribution found for x==1\nERROR: and more", "ERROR: No matching"),
        (
            "Traceback (most recent call last):\n  File\n\x1b[36mray.tune.TuneError: no\x1b[0m\nTypeError: exit",
            "ray.tune",
        ),
        ("", "it printed nothing"),
    ],
)
def test_the_line_that_names_the_error(text: str, message: str, tmp_path: Path):
    from peers.measuring import error_in

    path = tmp_path / "log"
    path.write_text(text)
    assert error_in(path).startswith(message) and "\x1b" not in error_in(path)


def test_an_environment_is_made_once_and_anew_when_versions_change(tmp_path: Path, monkeypatch):
    from peers import venvs

    calls: list[list[str]] = []

    def install(command: list[str], log: Path) -> None:
        calls.append(command)
        if command[1:3] == ["-m", "venv"]:
            (Path(command[3]) / "bin").mkdir(parents=True)
            (Path(command[3]) / "bin" / "python").touch()

    monkeypatch.setattr(venvs, "_run", install)
    python = venvs.ensure("sample-factory", tmp_path)
    words = [command[command.index("--disable-pip-version-check") + 1 :] for command in calls[1:]]
    torch = venvs.torch_requirement()
    assert torch.startswith("torch==") and words[0] == [torch] and words[1][0] == torch
    assert "gymnasium==0.29.1" in words[1] and words[2][0] == "--no-deps"

    calls.clear()
    assert venvs.ensure("sample-factory", tmp_path) == python and not calls
    monkeypatch.setattr(venvs, "torch_requirement", lambda: "torch==0.0")
    venvs.ensure("sample-factory", tmp_path)
    assert len(calls) == 4


def test_an_installation_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch):
    from peers import venvs
    from peers.measuring import PeerFailed

    monkeypatch.setattr(venvs.sys, "executable", "/bin/false")
    with pytest.raises(PeerFailed, match=r"installation failed: .*rllib-install\.log"):
        venvs.ensure("rllib", tmp_path)
    assert not (tmp_path / "rllib" / "installed.txt").exists()
