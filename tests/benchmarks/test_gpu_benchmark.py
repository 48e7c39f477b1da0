"""The GPU benchmark's parts, on the CPU: what a GPU machine is asked must at least be a sensible question."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "memory"))
from child_processes import FileSharing

from sfmarl.algorithms.compiling import compiler_fault
from sfmarl.envs.registry import load_spec
from sfmarl.run.validate import validate
from sfmarl.user_code import import_user_code

CPU = torch.device("cpu")


@pytest.mark.parametrize("check", ["acting", "registered_slots", "resume", "bfloat16"])
def test_checks_pass_where_there_is_nothing_to_go_wrong(check):
    import gpu_checks

    getattr(gpu_checks, check)(CPU)
    assert getattr(gpu_checks, check) in gpu_checks.CHECKS.values()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_compiled_step_is_asked_about_the_same_batch():
    import gpu_checks

    if fault := compiler_fault("cpu"):
        pytest.skip(fault)
    gpu_checks.compiled(CPU)


@pytest.mark.slow
def test_the_hand_over_check_passes_on_a_mapped_file(tmp_path):
    import gpu_checks

    gpu_checks.device_weights(CPU, FileSharing(tmp_path))


def test_a_check_that_fails_says_what_is_wrong_and_the_others_go_on(monkeypatch, capsys):
    import gpu_checks

    def broken(device):
        raise AssertionError("rows are off by 7")

    monkeypatch.setitem(gpu_checks.CHECKS, "broken", broken)
    found = gpu_checks.run(CPU, ["broken", "resume from the GPU on the CPU"])
    assert list(found.values()) == ["AssertionError: rows are off by 7", "ok"]


def test_every_piece_is_timed():
    import gpu_rates

    rates = gpu_rates.gathering(CPU, 0.01, envs=8) | gpu_rates.acting(CPU, 0.01, (4,), ("mlp",))
    rates |= gpu_rates.learning(CPU, 0.01, 2, ("mlp",), ({}, {"precision": "bfloat16"}))
    assert len(rates) == 6 + 2 + 2 and all(rate > 0 for rate in rates.values())


def test_trainings_have_settings_that_can_run():
    import gpu

    for work in gpu.WORKS.values():
        validate(gpu.configure(work, "cpu"))


def test_the_environment_of_pictures_is_one():
    import gpu

    config = gpu.configure(gpu.WORKS["pictures"], "cpu")
    import_user_code(config.imports)
    team = load_spec(config).teams[0]
    assert team.obs.shape == (84, 84, 4) and team.obs.dtype == np.uint8 and len(team.agents) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys, tmp_path):
    import gpu

    monkeypatch.setattr(sys, "argv", ["gpu.py", "--results", str(tmp_path / "results")])
    assert gpu.main() == 2
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1 and "no CUDA device" in err
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_every_check_passes_on_a_gpu():
    import gpu_checks

    assert set(gpu_checks.run(torch.device("cuda")).values()) == {"ok"}
