"""A full or read-only disk costs warnings and records, never the run, and never the last checkpoint."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from disk import FILLER, small_disk

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.command.cli import main
from sfmarl.config import Config, LeagueConfig
from sfmarl.errors import RunError, UsageError
from sfmarl.league.snapshot import SnapshotMeta, freeze
from sfmarl.league.store import FOLDER, DirectoryStore
from sfmarl.run.runner import resume, train
from sfmarl.storage import durable
from sfmarl.storage.checkpoint import begin, checkpoint_paths, latest
from sfmarl.storage.kept_batch import keep_batch
from sfmarl.storage.lock import make_run_dir

NAMES = ("metrics.jsonl", "TensorBoard")


@pytest.fixture
def disk(tmp_path):
    try:
        with small_disk(tmp_path / "disk") as folder:
            yield folder
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")


def config(run_dir: Path, **settings) -> Config:
    defaults = {
        "env": "games/climbing",
        "algo": "ippo",
        "hp": Hyperparameters(critic="own", hidden=(16,), epochs=1, returns="vtrace"),
        "mode": "serial",
        "num_workers": 1,
        "num_envs_per_worker": 4,
        "rollout": 8,
        "env_steps": 3000,
        "eval_env_steps": 0,
        "final_eval_episodes": 0,
        "log_seconds": 0.01,
        "checkpoint_seconds": 0.05,
        "run_dir": run_dir,
    }
    return Config(**{**defaults, **settings})


def records(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def leftovers(run_dir: Path) -> list[Path]:
    return list(run_dir.rglob(".tmp-*"))


@pytest.mark.parametrize("mode", ["serial", pytest.param("async", marks=pytest.mark.slow)])
def test_a_disk_that_fills_up_does_not_end_training(disk, capfd, mode):
    run_dir = disk / "run"
    result = train(
        config(run_dir, mode=mode, callbacks=("disk:FillDisk",), env_steps=3000 if mode == "serial" else 10_000)
    )
    said = capfd.readouterr().out
    assert result.summary["stopped_by"] == "finished" and result.summary["env_steps"] >= 3000
    assert "No space left on device" in said and "Training goes on" in said
    for name in (*NAMES, "summary.json"):
        assert any(name in line and line.startswith("warning: ") for line in said.splitlines()), name
    (only,) = checkpoint_paths(run_dir)
    assert latest(run_dir).path == only and only.name == result.summary["checkpoint"]
    assert not leftovers(run_dir) and not (run_dir / "crash.txt").exists()

    (disk / FILLER).unlink()
    more = resume(run_dir, env_steps=latest(run_dir).env_steps + 2000, callbacks=(), mode="serial")
    assert more.summary["env_steps"] >= latest(run_dir).env_steps
    assert len(checkpoint_paths(run_dir)) > 1 and records(run_dir)


def test_what_could_not_be_written_is_written_once_there_is_room(disk, capfd, monkeypatch):
    monkeypatch.setattr("sfmarl.monitor.metrics_writer.MetricsWriter.__init__.__defaults__", (None, None, 0.0))
    run_dir = disk / "run"
    train(config(run_dir, callbacks=("disk:EmptyDisk",), env_steps=6000))
    said = capfd.readouterr().out
    assert "Metrics cannot be written to metrics.jsonl" in said and "Metrics reach metrics.jsonl again" in said
    steps = [record["env_steps"] for record in records(run_dir)]
    assert steps == sorted(steps) and steps[-1] >= 6000
    assert latest(run_dir).env_steps >= 6000


def test_a_directory_that_becomes_read_only_does_not_end_training(disk, capfd):
    run_dir = disk / "run"
    try:
        result = train(config(run_dir, callbacks=("disk:ReadOnly",)))
        assert main(["resume", str(run_dir), "--env-steps", "9000"]) == 2
    finally:
        subprocess.run(["umount", "--lazy", str(run_dir)], check=True, capture_output=True)
    out, err = capfd.readouterr()
    assert result.summary["stopped_by"] == "finished"
    assert "Read-only file system" in out and "Training goes on" in out
    assert "Read-only file system" in err and "Traceback" not in err
    assert [latest(run_dir).path] == checkpoint_paths(run_dir)


def test_a_league_whose_snapshots_find_no_room_plays_on(disk, capfd):
    """The checkpoint at the start fills the disk; every snapshot that was due later is told of and left out."""
    league = LeagueConfig(snapshot_env_steps=500, live_snapshots=2)
    result = train(
        config(disk / "run", env="native/tic_tac_toe", league=league, callbacks=("disk:FillDisk",), env_steps=4000)
    )
    assert result.summary["stopped_by"] == "finished"
    assert "no snapshot of main was taken" in capfd.readouterr().out
    assert not list((disk / "run" / FOLDER).glob(".tmp-*"))


@pytest.mark.parametrize("where", ["full", "full/run", "read_only"])
def test_a_run_that_cannot_begin_says_so(disk, capsys, where):
    """Nothing was learned yet, so there is nothing to go on for."""
    from disk import fill

    (disk / "full").mkdir()
    (disk / "read_only").mkdir()
    folder = disk / where
    if where == "read_only":
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
    else:
        fill(disk)
    try:
        code = main(["train", "games/climbing", "--algo", "ippo", "--mode", "serial", "--run-dir", str(folder / "x")])
    finally:
        if where == "read_only":
            subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
    err = capsys.readouterr().err
    assert code in (1, 2)
    assert str(folder / "x") in err and "not expected" not in err and "Traceback" not in err


@pytest.mark.slow
def test_a_standard_output_that_takes_nothing_ends_no_training(tmp_path):
    words = [
        "train",
        "games/climbing",
        "--algo",
        "ippo",
        "--mode",
        "serial",
        "--env-steps",
        "200",
        "--eval-env-steps",
        "0",
    ]
    words += ["--final-eval-episodes", "0", "--run-dir", str(tmp_path / "run"), "--num-workers", "1"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sfmarl", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=100,
        )
    assert (tmp_path / "run" / "summary.json").exists()
    assert "Traceback" not in done.stderr and "not expected" not in done.stderr
    assert latest(tmp_path / "run").env_steps >= 200


@pytest.mark.slow
@pytest.mark.parametrize("used", [65536, 0], ids=["full", "room for a queue"])
def test_a_full_dev_shm_is_no_hindrance(used, tmp_path):
    """Nor a full TMPDIR, nor room that sparse files share out twice: segment and queues lie in reserved memory."""
    train = f"{sys.executable} -m sfmarl train games/climbing --algo ippo --num-workers 2 --env-steps 3000"
    train += f" --num-envs-per-worker 4 --rollout 8 --eval-env-steps 0 --final-eval-episodes 0 --run-dir {tmp_path}/run"
    full = f"mount -t tmpfs -o size=64k tmpfs /dev/shm && head -c {used} /dev/zero > /dev/shm/full"
    (tmp := tmp_path / "tmp").mkdir()
    full += f" && mount --bind /dev/shm {tmp} && export TMPDIR={tmp}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", full], capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    script = f"{full} && ! head -c 65537 /dev/zero > /dev/shm/more && rm /dev/shm/more && {train}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert latest(tmp_path / "run").env_steps >= 3000


def test_a_file_that_is_not_replaced_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.replace_file(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"] and path.read_bytes() == b"old"


def full(*args):
    raise OSError(28, os.strerror(28))


def test_first_weights_that_find_no_room_leave_nothing_behind_and_it_is_told_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old, new = train(config(tmp_path / "old", env_steps=200)).run_dir, tmp_path / "new"
    with monkeypatch.context() as patch:
        patch.setattr("sfmarl.storage.checkpoint.sync_file", full)
        with pytest.raises(RunError, match="No space left on device"):
            train(config(new, init_from=str(old)))
    assert not leftovers(new) and not checkpoint_paths(new)
    advice = f"train --config {new}"
    for words in (["resume", str(new)], ["evaluate", str(new)]):
        assert main(words) == 1
        assert (
            f"holds no checkpoint: the run ended before its first. Train anew with its settings, sfmarl {advice},"
            in (capsys.readouterr().err)
        )
    assert main([*advice.split(), "--dry-run"]) == 0


def test_a_sweep_whose_tables_find_no_room_goes_on(tmp_path, capsys, monkeypatch):
    pytest.importorskip("optuna")
    from sfmarl.results import sweep as sweeps

    genuine, run_dir = sweeps.replace_file, tmp_path / "sweep"
    monkeypatch.setattr(
        sweeps, "replace_file", lambda path, data: (genuine if path.name == sweeps.SWEEP else full)(path, data)
    )
    monkeypatch.setattr(sweeps, "write_config", full)
    words = "sweep games/climbing --algo ippo --mode serial --num-workers 1 --num-envs-per-worker 4 --rollout 8"
    words += " --hidden 8 --env-steps 100 --eval-env-steps 0 --final-eval-episodes 2 --quiet --search lr=log:1e-4..1e-1"
    assert main([*words.split(), "--trials", "2", "--run-dir", str(run_dir)]) == 0
    out, err = capsys.readouterr()
    for name in ("trials.json", "trials.txt", "best-config.json"):
        assert f"warning: {run_dir / name} could not be written: No space left on device." in out
    assert not err and (run_dir / "trial-001" / "summary.json").exists()

    monkeypatch.setattr(sweeps, "replace_file", full)
    calls = itertools.count()
    append = "optuna.storages.journal.JournalFileBackend.append_logs"
    monkeypatch.setattr(append, lambda *args: full() if next(calls) else None)  # the first one opens the study
    assert main(["resume", str(run_dir), "--trials", "3"]) == 1
    out, err = capsys.readouterr()
    assert f"warning: {run_dir / sweeps.SWEEP} could not be written" in out
    assert f"{run_dir / sweeps.STUDY} could not be written: No space left on device." in err
    assert main([*words.split(), "--run-dir", str(tmp_path / "other")]) == 1
    assert f"{tmp_path / 'other' / sweeps.SWEEP} could not be written" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["resume {}", "export {} --out out.pt"])
def test_a_path_that_no_file_can_have_is_told_in_words(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("x" * 300)
    assert main(words.format(path).split()) == 2
    err = capsys.readouterr().err
    assert str(path) in err and "File name too long" in err and "not expected" not in err
    with pytest.raises(UsageError, match="x cannot be read: File name too long"):
        train(config(tmp_path / "run", init_from=str(path)))


def new_checkpoint(folder: Path) -> Path:
    folder.mkdir()
    begin(folder, 0)
    return folder / "checkpoints"


def new_snapshot(folder: Path) -> Path:
    DirectoryStore(folder / FOLDER).put(freeze({}, np.ones(4, np.float32), SnapshotMeta("main")))
    return folder / FOLDER


def new_batch(folder: Path) -> Path:
    folder.mkdir()
    return keep_batch(folder, "agent-1", {"reward": torch.ones(2)}).parent


def new_run(folder: Path) -> Path:
    make_run_dir(folder)
    return folder


@pytest.mark.parametrize("make", [new_checkpoint, new_snapshot, new_batch, new_run])
def test_the_name_of_a_new_directory_is_made_durable(tmp_path, monkeypatch, make):
    synced = []
    monkeypatch.setattr(durable, "sync_directory", lambda path: synced.append(path) if path.is_dir() else full())
    assert make(tmp_path / "new").parent in synced


def test_two_runs_do_not_share_a_directory(tmp_path, capsys):
    from sfmarl.storage.lock import locked

    run_dir = tmp_path / "run"
    train(config(run_dir, env_steps=200))
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with locked(run_dir), pytest.raises(UsageError, match="is in use"):
        resume(run_dir, env_steps=9000)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    with pytest.raises((UsageError, RunError)), locked(tmp_path / "nowhere"):
        pass
