"""Sweeps over real runs: trials, their table, the best settings, interruption, failing and pruned trials."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from sfmarl.command.cli import main
from sfmarl.errors import UsageError
from sfmarl.results import sweep as sweeps
from sfmarl.run import runner
from sfmarl.run.runner import train
from sfmarl.signals import Interrupted
from sfmarl.storage.config_file import read_config

optuna = pytest.importorskip("optuna")

QUICK = ["--algo", "ippo", "--mode", "serial", "--num-workers", "1", "--num-envs-per-worker", "4", "--rollout", "8",
         "--epochs", "1", "--hidden", "8", "--eval-env-steps", "0", "--eval-episodes", "2", "--final-eval-episodes",
         "4", "--env-steps", "100", "--quiet"]  # fmt: skip
SWEEP = ["sweep", "games/climbing", *QUICK]
SEARCH = ["--search", "lr=log:1e-4..1e-1", "rollout=4,8", "hidden=[4],[8,8]"]


def table(run_dir: Path) -> list[dict]:
    return json.loads((run_dir / "trials.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("sweep") / "s"
    assert main([*SWEEP, *SEARCH, "--trials", "3", "--run-dir", str(run_dir)]) == 0
    return run_dir


def test_every_trial_is_a_run_with_its_values(finished):
    rows = table(finished)
    assert [row["trial"] for row in rows] == [0, 1, 2]
    for row in rows:
        config = read_config(finished / row["run_dir"] / "config.json")
        values = {"lr": config.hp.lr, "rollout": config.rollout, "hidden": list(config.hp.hidden)}
        assert row["values"] == values and 1e-4 <= config.hp.lr <= 1e-1
        summary = json.loads((finished / row["run_dir"] / "summary.json").read_text())
        assert row["score"]["mean"] == summary["evaluation"]["teams"]["agent"]["mean"]
    assert len({row["values"]["lr"] for row in rows}) == 3


def test_the_best_settings_can_be_trained(finished, tmp_path):
    rows = table(finished)
    best = max(rows, key=lambda row: row["score"]["mean"])
    config = read_config(finished / "best-config.json")
    assert (config.hp.lr, config.rollout, config.run_dir) == (best["values"]["lr"], best["values"]["rollout"], None)
    words = ["train", "--config", str(finished / "best-config.json"), "--run-dir", str(tmp_path / "again")]
    assert main(words) == 0
    assert read_config(tmp_path / "again/config.json").hp.lr == config.hp.lr


def test_a_sweep_that_is_over_needs_more_trials(finished, capsys):
    assert main(["resume", str(finished)]) == 2
    assert "has its 3 trials. Raise --trials" in capsys.readouterr().err
    assert main(["resume", str(finished), "--env-steps", "5"]) == 2
    assert "leave out --env-steps" in capsys.readouterr().err
    assert main([*SWEEP, *SEARCH, "--run-dir", str(finished)]) == 2
    assert f"sfmarl resume {finished}" in capsys.readouterr().err


def test_an_interrupted_trial_is_finished_with_its_own_values(tmp_path, monkeypatch, capsys):
    begun = []

    def interrupted(config, judge=None):
        begun.append((config.run_dir.name, config.hp.lr))
        if len(begun) == 2:
            raise Interrupted(15)
        return train(config, judge=judge)

    monkeypatch.setattr(sweeps, "train", interrupted)
    run_dir = tmp_path / "s"
    assert main([*SWEEP, *SEARCH, "--trials", "2", "--run-dir", str(run_dir)]) == 143
    assert f"sfmarl resume {run_dir}" in capsys.readouterr().out
    assert [row["trial"] for row in table(run_dir)] == [0]
    assert main(["resume", str(run_dir), "--trials", "3"]) == 0
    assert [name for name, _ in begun] == ["trial-000", "trial-001", "trial-001", "trial-002"]
    assert begun[1] == begun[2]
    assert [row["state"] for row in table(run_dir)] == ["complete"] * 3


@pytest.mark.parametrize("over", [False, True])
def test_a_trial_with_a_checkpoint_goes_on_from_it_or_is_taken_as_it_ended(tmp_path, monkeypatch, over):
    run_dir = tmp_path / "s"

    def killed(config, judge=None):
        train(config)
        raise Interrupted(15)

    with monkeypatch.context() as patched:
        patched.setattr(sweeps, "train", killed)
        assert main([*SWEEP, *SEARCH, "--trials", "1", "--run-dir", str(run_dir)]) == 143
    if over:
        summary = (run_dir / "trial-000/summary.json").read_text()
    else:
        (run_dir / "trial-000/summary.json").unlink()
        summary = None
    continued = []

    def resume(path):
        continued.append(path.name)
        return runner.resume(path, env_steps=200)

    monkeypatch.setattr(sweeps, "resume", resume)
    assert main(["resume", str(run_dir)]) == 0
    assert continued == ([] if over else ["trial-000"])
    assert summary in (None, (run_dir / "trial-000/summary.json").read_text())
    assert [row["state"] for row in table(run_dir)] == ["complete"]


def test_trials_that_cannot_run_are_failures_and_three_of_nothing_else_end_it(tmp_path, capsys):
    # together they ask for a batch that serial mode cannot honour
    words = [*SWEEP, "--search", "batch_size=3,5", "--run-dir"]
    assert main([*words, str(tmp_path / "s"), "--trials", "9"]) == 1
    printed = capsys.readouterr()
    assert "all 3 trials failed, the last one because: batch_size" in printed.err
    assert printed.out.count("failed: batch_size") == 3
    assert {row["state"] for row in table(tmp_path / "s")} == {"fail"}
    assert not (tmp_path / "s/best-config.json").exists()


def test_a_hopeless_trial_is_pruned_at_its_periodic_evaluation(tmp_path, monkeypatch):
    reported = []

    def report(self, value, step):
        reported.append(step)

    monkeypatch.setattr(optuna.Trial, "report", report)
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: self.number == 1 and reported[-1] == 2)
    run_dir = tmp_path / "s"
    words = [
        *SWEEP,
        *SEARCH,
        "--trials",
        "2",
        "--run-dir",
        str(run_dir),
        "--eval-env-steps",
        "40",
        "--env-steps",
        "200",
    ]
    assert main(words) == 0
    assert [row["state"] for row in table(run_dir)] == ["complete", "pruned"]
    summary = json.loads((run_dir / "trial-001/summary.json").read_text())
    assert summary["stopped_by"] == "pruned by the sweep" and summary["evaluation"] is None
    assert summary["env_steps"] < 200
    assert reported[:2] == [1, 2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--trials", "2"], "nothing is searched"),
        ([*SEARCH, "--trials", "0"], "at least one"),
        ([*SEARCH, "--final-eval-episodes", "0"], "compares final evaluations"),
        (["--search", "lrr=1..2"], "Did you mean 'lr'"),
        ([*SEARCH, "--num-splits", "3"], "cannot be divided"),
    ],
)
def test_what_cannot_start_leaves_nothing(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    try:
        code = main([*SWEEP, *words])
    except SystemExit as stop:
        code = stop.code
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert expected in capsys.readouterr().err


def test_damaged_or_foreign_directories_are_refused(tmp_path, finished):
    with pytest.raises(UsageError, match="is not a sweep"):
        sweeps.resume_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        sweeps.resume_sweep(tmp_path)


def test_half_a_line_that_a_full_disk_left_is_not_built_upon(finished, tmp_path):
    run_dir = tmp_path / "s"
    shutil.copytree(finished, run_dir)
    with open(run_dir / "study.log", "ab") as file:
        file.write((run_dir / "study.log").read_bytes()[:17])
    for trials in ("4", "5"):
        assert main(["resume", str(run_dir), "--trials", trials]) == 0
    assert [row["state"] for row in table(run_dir)] == ["complete"] * 5


def test_a_line_of_the_study_is_whole_or_absent(tmp_path):
    """Also in the sitting in which the disk is full for a moment."""
    (tmp_path / "study.log").write_text('{"a": 1}\n')

    def append():
        with sweeps._Sweep._appended(SimpleNamespace(_run_dir=tmp_path)):
            with open(tmp_path / "study.log", "a") as file:
                file.write('{"b"')
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        append()
    assert (tmp_path / "study.log").read_text() == '{"a": 1}\n'


def test_without_optuna_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'sfmarl\[sweep\]'"):
        sweeps.resume_sweep(tmp_path)
