"""Series of seeds: run, table, interruption, going on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from sfmarl.algorithms import ALGORITHMS
from sfmarl.command.cli import main
from sfmarl.config import Config
from sfmarl.errors import RunError, UsageError
from sfmarl.results import series
from sfmarl.results.series import SERIES, read_series, resume_series, train_seeds
from sfmarl.signals import Interrupted
from sfmarl.statistics import mean_interval
from sfmarl.storage.checkpoint import checkpoint_paths
from sfmarl.user_code import FILE_PREFIX

QUICK = ["--mode", "serial", "--num-workers", "1", "--num-envs-per-worker", "4", "--rollout", "8", "--epochs", "1",
         "--hidden", "8", "--eval-env-steps", "0", "--final-eval-episodes", "4", "--quiet"]  # fmt: skip
CLIMBING = ["games/climbing", "--algo", "ippo", "--env-steps", "200", *QUICK]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("series") / "three"
    assert main(["train", *CLIMBING, "--run-dir", str(run_dir), "--seeds", "1", "2", "3"]) == 0
    return run_dir


def test_every_seed_is_a_run_and_the_aggregate_says_what_they_reached(finished):
    summaries = [json.loads((finished / f"seed-{n}/summary.json").read_text()) for n in (1, 2, 3)]
    assert [summary["seed"] for summary in summaries] == [1, 2, 3]
    scores = [summary["evaluation"]["teams"]["agent"]["mean"] for summary in summaries]
    data = json.loads((finished / "aggregate.json").read_text())
    expected = mean_interval(scores)
    assert data["over_seeds"]["agent"] == expected.to_json() and expected.count == 3
    assert [row["evaluation"]["teams"]["agent"]["mean"] for row in data["seeds"]] == scores
    text = (finished / "aggregate.txt").read_text()
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows[3:6]] == ["1", "2", "3"]
    assert f"mean of 3  {expected}" in text


def test_a_finished_series_is_not_trained_again_but_may_be_trained_on(finished, tmp_path):
    with pytest.raises(UsageError, match=r"all 3 seeds .* are finished"):
        resume_series(finished)
    copy = tmp_path / "copy"
    assert main(["train", *CLIMBING, "--run-dir", str(copy), "--seeds", "4"]) == 0
    result = resume_series(copy, env_steps=400)
    assert result.summaries[4]["env_steps"] >= 400
    assert read_series(copy)[0].env_steps == 400


OWN = """
import sfmarl
from sfmarl.algorithms.ppo import PPO, Hyperparameters

sfmarl.register_algorithm("mine", PPO, "my own", lambda: Hyperparameters(critic="own", hidden=(8,), epochs=1))
"""


def test_a_series_imports_the_users_file_from_wherever_it_goes_on(tmp_path, monkeypatch):
    """In Python nobody has imported it before; what is recorded is its absolute path, until --imports names another."""
    home, moved = tmp_path / "home", tmp_path / "moved"
    home.mkdir(), moved.mkdir()
    (home / "mine.py").write_text(OWN)
    monkeypatch.chdir(home)
    monkeypatch.setattr(ALGORITHMS, "_values", dict(ALGORITHMS))
    small = {"mode": "serial", "num_workers": 1, "num_envs_per_worker": 4, "rollout": 8, "eval_env_steps": 0}
    config = Config("games/climbing", algo="mine", env_steps=100, final_eval_episodes=0, imports=("mine.py",),
                    run_dir=tmp_path / "s", quiet=True, **small)  # fmt: skip
    train_seeds(config, [1])
    monkeypatch.chdir(moved)
    assert resume_series(tmp_path / "s", env_steps=200).summaries[1]["env_steps"] >= 200
    (home / "mine.py").rename(moved / "mine.py")
    # as in a new process
    for name in [name for name in sys.modules if name.startswith(FILE_PREFIX)]:
        del sys.modules[name]
    monkeypatch.setattr(ALGORITHMS, "_values", {n: x for n, x in ALGORITHMS.items() if n != "mine"})
    with pytest.raises(UsageError, match="there is no file"):
        resume_series(tmp_path / "s", env_steps=300)
    assert resume_series(tmp_path / "s", env_steps=300, imports=("mine.py",)).summaries[1]["env_steps"] >= 300


def test_an_interruption_ends_the_series_and_resuming_trains_only_what_is_missing(tmp_path, monkeypatch, capsys):
    begun = []
    genuine = series.train

    def train(config: Config):
        begun.append(config.seed)
        if config.seed == 2 and begun.count(2) == 1:
            raise Interrupted(2)
        return genuine(config)

    monkeypatch.setattr(series, "train", train)
    words = ["train", *CLIMBING, "--run-dir", str(tmp_path / "run"), "--seeds", "1", "2", "3"]
    assert main(words) == 130
    assert begun == [1, 2]
    assert "sfmarl resume" in capsys.readouterr().out
    table = (tmp_path / "run/aggregate.txt").read_text()
    assert table.count("not finished") == 2 and "mean of 1" in table
    before = (tmp_path / "run/seed-1/summary.json").stat().st_mtime_ns
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert begun == [1, 2, 2, 3]
    assert (tmp_path / "run/seed-1/summary.json").stat().st_mtime_ns == before
    assert "mean of 3" in capsys.readouterr().out


def test_a_seed_that_was_interrupted_with_a_checkpoint_goes_on_from_it(tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    assert main(["train", *CLIMBING, "--run-dir", str(run_dir), "--seeds", "1", "2"]) == 0
    summary = json.loads((run_dir / "seed-2/summary.json").read_text())
    (run_dir / "seed-2/summary.json").write_text(json.dumps(summary | {"stopped_by": "interrupted", "env_steps": 0}))
    continued = []
    monkeypatch.setattr(series, "resume", lambda path, **overrides: continued.append((path.name, overrides)))
    resume_series(run_dir)
    assert continued == [("seed-2", {})]


def test_a_failing_seed_is_named(tmp_path, monkeypatch):
    def train(config):
        raise RunError("the disk is full")

    monkeypatch.setattr(series, "train", train)
    with pytest.raises(RunError, match=r"seed 5: the disk is full\n.*sfmarl resume"):
        train_seeds(Config(env="games/climbing", algo="ippo", quiet=True, run_dir=tmp_path / "r"), [5])


def test_a_seed_whose_last_checkpoint_found_no_room_goes_on(finished, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    shutil.copytree(finished, run_dir)
    newest, *_ = checkpoint_paths(run_dir / "seed-2")
    newest.rename(newest.with_name("step-000000000008"))
    continued = []
    monkeypatch.setattr(series, "resume", lambda path, **overrides: continued.append(path.name))
    resume_series(run_dir)
    assert continued == ["seed-2"]


def test_a_seed_that_went_on_while_it_was_saved_is_finished(finished, tmp_path):
    """As asynchronous runs do: more was done than the last checkpoint tells."""
    run_dir = tmp_path / "run"
    shutil.copytree(finished, run_dir)
    for path in run_dir.glob("seed-*/summary.json"):
        summary = json.loads(path.read_text())
        path.write_text(json.dumps(summary | {"env_steps": summary["env_steps"] + 100}))
    with pytest.raises(UsageError, match=r"seeds of .* are finished"):
        resume_series(run_dir)


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_aggregate_that_finds_no_room_costs_warnings_and_no_seed(tmp_path, monkeypatch, capsys):
    genuine = series.replace_file
    monkeypatch.setattr(
        series, "replace_file", lambda path, data: (genuine if path.name == SERIES else full)(path, data)
    )
    run_dir = tmp_path / "run"
    assert main(["train", *CLIMBING, "--run-dir", str(run_dir), "--seeds", "1", "2"]) == 0
    assert (run_dir / "seed-2/summary.json").exists()
    out, err = capsys.readouterr()
    for name in ("aggregate.json", "aggregate.txt"):
        assert out.count(f"warning: {run_dir / name} could not be written: No space left on device.") == 2
    assert not err and "mean of 2" in out
    monkeypatch.setattr(series, "replace_file", full)
    assert main(["resume", str(run_dir), "--env-steps", "300", "--quiet"]) == 0
    assert "series.json could not be written" in capsys.readouterr().out
    assert read_series(run_dir)[0].env_steps == 200, "the file of the sitting before is whole"


def test_a_series_that_cannot_be_described_does_not_begin(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(series, "replace_file", full)
    monkeypatch.setattr(series, "train", lambda config: pytest.fail("a seed was trained"))
    assert main(["train", *CLIMBING, "--run-dir", str(tmp_path / "run"), "--seeds", "1"]) == 1
    assert f"{tmp_path / 'run' / SERIES} could not be written: No space left on device." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([*CLIMBING, "--seeds", "1", "1"], "seeds = [1, 1]: give one or more different"),
        ([*CLIMBING, "--seeds", "-1"], "whole numbers from 0"),
        (["games/clmbing", *CLIMBING[1:], "--seeds", "1"], "Did you mean 'games/climbing'"),
        ([*CLIMBING, "--seeds", "1", "--init-from", "nowhere"], "neither a run directory"),
        ([*CLIMBING, "--seeds"], "seeds = []"),
    ],
)
def test_what_cannot_start_leaves_nothing(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["train", *words])
    except SystemExit as stop:
        code = stop.code
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert expected in capsys.readouterr().err


def test_a_directory_that_holds_something_is_not_overwritten(finished, capsys, tmp_path):
    assert main(["train", *CLIMBING, "--run-dir", str(finished), "--seeds", "1"]) == 2
    assert f"sfmarl resume {finished}" in capsys.readouterr().err
    (tmp_path / "series.json").write_text("{")
    assert main(["resume", str(tmp_path)]) == 2
    assert "series.json cannot be read" in capsys.readouterr().err


def test_settings_of_an_earlier_run_are_defaults(finished, tmp_path, monkeypatch):
    from sfmarl.command import launching

    started: list[Config] = []
    monkeypatch.setattr(launching, "train_in_run_dir", lambda config: started.append(config) or 0)
    second = finished / "seed-2"
    for words in (
        ["--config", str(second)],
        ["--config", str(second / "config.json"), "--lr", "1"],
        ["games/penalty", "--config", str(second)],
    ):
        assert main(["train", *words]) == 0
    same, changed, elsewhere = started
    assert (same.env, same.algo, same.seed, same.hp.hidden, same.run_dir) == ("games/climbing", "ippo", 2, (8,), None)
    assert (changed.hp.lr, changed.hp.hidden) == (1.0, (8,))
    assert (elsewhere.env, elsewhere.rollout) == ("games/penalty", 8)
    assert main(["train", "--config", str(tmp_path)]) == 2
