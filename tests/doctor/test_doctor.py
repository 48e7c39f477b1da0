"""What the doctor says of machines that are well, small, limited, wrongly installed, and of GPUs that do not work."""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import psutil
import pytest
import torch

from sfmarl.command.cli import main
from sfmarl.doctor import machine, software, workings
from sfmarl.doctor.report import Finding, verdict
from sfmarl.errors import RunError
from sfmarl.tuning import wake

GIB = 1 << 30


def of(findings: list[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


@pytest.fixture
def idle(monkeypatch):
    """A machine with 8 cores on which nothing else runs, without limits."""
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 1.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(machine, "available_bytes", lambda: 16 * GIB)
    for name in ("cpu_quota", "memory_limit", "process_headroom"):
        monkeypatch.setattr(machine, name, lambda: None)
    monkeypatch.setattr(resource, "getrlimit", lambda what: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(os, "statvfs", lambda path: filesystem(64 << 20))


def filesystem(free: int, total: int = 64 << 20) -> SimpleNamespace:
    return SimpleNamespace(f_frsize=4096, f_blocks=total // 4096, f_bavail=free // 4096)


def test_a_machine_that_is_well(idle):
    findings = machine.look_at_machine()
    assert [finding.status for finding in findings] == ["ok"] * len(findings)
    assert [f.subject for f in findings] == ["platform", "cores", "memory", "/dev/shm", "open files", "processes"]
    assert verdict(findings) == "All is well."
    assert json.loads(json.dumps([finding.to_json() for finding in findings]))


@pytest.mark.parametrize(
    ("subject", "owner", "name", "value", "words"),
    [
        ("cores", machine, "cpu_quota", lambda: 3.0, ["quota of 3", "--num-workers 3"]),
        ("cores", machine, "cpu_quota", lambda: 0.5, ["--num-workers 2"]),
        ("cores", os, "sched_getaffinity", lambda pid: {0}, ["1 of 8", "--inference local"]),
        ("cores", psutil, "cpu_percent", lambda interval: 55.0, ["55 %", "slower"]),
        ("memory", machine, "available_bytes", lambda: GIB, ["1.0 of", "--dry-run"]),
        ("/dev/shm", os, "statvfs", lambda path: filesystem(0), ["0 of 64 MiB", "--shm-size"]),
        ("open files", resource, "getrlimit", lambda what: (256, 4096), ["256 (4,096", "ulimit -n 1024"]),
        ("processes", machine, "process_headroom", lambda: 10, ["10 left in this container", "pids limit"]),
        ("processes", resource, "getrlimit", lambda what: (20, 20), ["20", "ulimit -u"]),
    ],
)
def test_what_is_short_is_named_with_what_to_do(idle, monkeypatch, subject, owner, name, value, words):
    monkeypatch.setattr(owner, name, value)
    findings = machine.look_at_machine()
    finding = of(findings, subject)
    assert finding.status == "warning" and str(finding).startswith(f"warning  {subject}")
    for word in words:
        assert word in str(finding)
    assert "1 warning" in verdict(findings) or subject in ("open files", "processes")


def test_a_machine_without_dev_shm_or_linux(idle, monkeypatch):
    def missing(path):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "statvfs", missing)
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    findings = machine.look_at_machine()
    assert of(findings, "/dev/shm").status == "warning" and "No such file" in of(findings, "/dev/shm").found
    assert of(findings, "platform").status == "broken"
    assert verdict(findings).startswith("1 thing broken")


def test_another_processor_is_worth_a_warning(idle, monkeypatch):
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    assert of(machine.look_at_machine(), "platform").status == "warning"


def test_this_installation_is_whole():
    findings = software.look_at_software()
    assert [f.status for f in findings] == ["ok"] * len(findings)
    assert f"torch {metadata.version('torch')}" in of(findings, "packages").found
    assert of(findings, "packages").facts["faster-fifo"]["least"] == "1.5"
    assert "sweep" in of(findings, "extras").found


def test_packages_that_are_old_missing_or_do_not_load(monkeypatch):
    wanted = ["torch>=2.6", "numpy>=1.26", "faster-fifo>=1.5", "rich>=13", 'optuna>=4; extra == "sweep"',
              'sfmarl[dev]; extra == "envs"', 'pettingzoo[sisl]>=1.25; extra == "sisl"']  # fmt: skip
    there = {"torch": "2.5.1+cu121", "numpy": "1.26.4", "faster-fifo": "1.10.0", "optuna": "3.9"}
    real = importlib.import_module

    def version(name):
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    def importing(name):
        if name == "faster_fifo":
            raise ImportError("undefined symbol: _ZN")
        return real(name)

    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(importlib, "import_module", importing)
    findings = software.look_at_software()
    assert of(findings, "packages").found == "numpy 1.26.4"
    for name, words in {
        "torch": "2.5.1+cu121 is older than 2.6: pip install 'torch>=2.6'",
        "rich": "is not installed: pip install 'rich>=13'",
        "faster-fifo": "1.10.0 cannot be imported (ImportError: undefined symbol: _ZN): pip install --force-reinstall",
    }.items():
        assert of(findings, name).status == "broken" and words in str(of(findings, name))
    extras = of(findings, "extras")
    assert extras.status == "warning" and "optuna 3.9 (at least 4)" in extras.advice
    assert extras.found == "installed: sweep; not: sisl"


def test_a_checkout_that_is_not_installed(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    findings = software.look_at_software()
    assert of(findings, "installation").status == "warning"
    assert "torch" in of(findings, "packages").found


class Gpu:
    """Stands in for torch.cuda."""

    def __init__(self, devices: int = 1, available: bool = True) -> None:
        self.devices, self.available = devices, available

    def is_available(self):
        return self.available

    def device_count(self):
        return self.devices

    def mem_get_info(self, index):
        return 70 * GIB, 80 * GIB

    def get_device_name(self, index):
        return "H100"


@pytest.mark.parametrize(
    ("built", "driver", "gpu", "computes", "status", "words"),
    [
        (None, [], Gpu(), True, "ok", ["without CUDA", "use the CPU"]),
        (None, ["H100, driver 560"], Gpu(), True, "warning", ["without CUDA", "driver 560", "torch build for CUDA"]),
        ("12.4", [], Gpu(available=False), True, "ok", ["sees no GPU", "no NVIDIA driver"]),
        ("12.4", ["H100, driver 470"], Gpu(available=False), True, "warning", ["driver 470", "CUDA_VISIBLE_DEVICES"]),
        ("12.4", ["H100, driver 560"], Gpu(2), True, "ok", ["cuda:1 H100, 70 of 80 GiB free", "CUDA 12.4"]),
        ("12.4", ["H100, driver 560"], Gpu(), False, "broken", ["no kernel image", "--device cpu"]),
    ],
)
def test_what_is_said_of_gpus(monkeypatch, built, driver, gpu, computes, status, words):
    zeros = torch.zeros

    def on_cpu(*shape, device):
        if not computes:
            raise RuntimeError("no kernel image is available for execution\nmore")
        return zeros(*shape)

    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch, "cuda", gpu)
    monkeypatch.setattr(torch, "zeros", on_cpu)
    monkeypatch.setattr(torch, "ones", on_cpu)
    monkeypatch.setattr(software, "_driver", lambda: driver)
    finding = software.look_at_cuda()
    assert finding.status == status
    for word in words:
        assert word in str(finding)


def test_shared_memory_is_given_back_or_its_absence_explained(monkeypatch):
    before = len(os.listdir("/proc/self/fd"))
    assert workings.try_shared_memory().status == "ok"

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    finding = workings.try_shared_memory()
    assert finding.status == "broken" and "No space left" in finding.found
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr(os, "memfd_create", full)
    assert "memfd" in workings.try_shared_memory().found


def test_the_queue_is_tried_between_real_processes(monkeypatch):
    finding = workings.try_queue()
    wakes = finding.facts["wake_up_microseconds"]
    assert finding.status in ("ok", "warning"), finding
    assert 0 < wakes["p50"] <= wakes["p90"] <= wakes["p99"] <= wakes["max"]
    assert not [child for child in psutil.Process().children() if "_echo" in " ".join(child.cmdline())]

    def silent():
        raise RunError("a process does not answer.")

    monkeypatch.setattr(wake, "measure_wake_ups", silent)
    assert workings.try_queue().status == "broken"


def test_time_is_averaged_by_what_records_cover():
    records = [
        {"wall_seconds": 4.0, "time/learner/update": 0.0, "time/learner/wait": 1.0},
        {"wall_seconds": 5.0, "time/learner/update": 1.0, "time/learner/wait": 0.0, "time/rollout/env": 1.0},
        {"wall_seconds": 8.0, "time/learner/update": 0.9, "time/learner/wait": 0.1, "time/rollout/env": 1.0},
    ]
    found = workings.mean_breakdown(records, 4.0)
    assert found.fractions["learner"] == pytest.approx({"update": 3.7 / 4, "wait": 0.3 / 4})
    assert found.bottleneck == "learner"


def test_a_training_that_fails_is_broken(monkeypatch):
    def fail(config, seconds):
        raise RunError("rollout worker 0 was killed by SIGBUS.")

    monkeypatch.setattr("sfmarl.tuning.trials.short_training", fail)
    finding = workings.try_training(1.0)
    assert finding.status == "broken" and "SIGBUS" in finding.found


def test_exit_codes_and_json(monkeypatch, capsys):
    from sfmarl.doctor import software

    monkeypatch.setattr(workings, "try_training", lambda seconds: Finding("training", "ok", f"{seconds}"))
    monkeypatch.setattr(workings, "try_queue", lambda: Finding("queues", "ok", "fine"))
    assert main(["doctor", "--json", "--seconds", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {"Python", "packages", "cores", "memory", "CUDA", "queues", "training"} <= {
        f["subject"] for f in told["findings"]
    }
    monkeypatch.setattr(software, "look_at_cuda", lambda: (_ for _ in ()).throw(ImportError("libcudart.so")))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "broken   CUDA               ImportError: libcudart.so" in out and "1 thing broken" in out
    assert main(["doctor", "--seconds", "0"]) == 2


@pytest.mark.parametrize("name", ["numpy", "psutil"])
def test_a_module_that_cannot_be_imported_is_named(tmp_path, name):
    """By a doctor that does without it, and in a process of its own: modules that are there would not be missed."""
    (tmp_path / f"{name}.py").write_text("raise ImportError('undefined symbol: _ZN')")
    done = subprocess.run(
        [sys.executable, "-m", "sfmarl", "doctor", "--seconds", "0.1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    told = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("broken")}
    assert done.returncode == 1 and not done.stderr
    assert "cannot be imported (ImportError: undefined symbol: _ZN)" in told[name]
    assert "things broken" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_nothing_is_left_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    shared = set(os.listdir("/dev/shm"))
    assert main(["doctor", "--seconds", "1"]) == 0
    out = capsys.readouterr().out
    assert "agent-steps/s" in out and "is the bottleneck" in out
    assert not list((tmp_path / "tmp").glob("sfmarl*")) and not list((tmp_path / "tmp").glob("pymp-*"))
    assert [p.name for p in tmp_path.iterdir()] == ["tmp"]
    assert set(os.listdir("/dev/shm")) <= shared
    assert not [child for child in psutil.Process().children(recursive=True) if child.name().startswith("sf-")]
