"""A foreign file cannot run code: a pickle in the place of any file that a command reads is refused or passed over."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.command.cli import main
from sfmarl.config import Config, LeagueConfig
from sfmarl.errors import EnvFault, RunError, SfmarlError, UserCodeError
from sfmarl.evaluation.policy import load_policy
from sfmarl.league.snapshot import SnapshotMeta, freeze
from sfmarl.league.store import FOLDER, open_store
from sfmarl.run.crash import traceback_kept
from sfmarl.run.runner import train
from sfmarl.storage.checkpoint import checkpoint_paths
from sfmarl.storage.checkpoint_reader import manifest_digest
from sfmarl.storage.durable import append_text, dump_json, hash_file, parse_json, write_text
from sfmarl.storage.kept_batch import keep_batch
from sfmarl.workers.faults import FILE, EnvFaults


class Evil:
    """Makes the directory `executed` in the working directory when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def torch_archive(path: Path) -> None:
    torch.save({"weights": Evil()}, path)


def numpy_objects(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.array([Evil()], object), allow_pickle=True)


def python(path: Path) -> None:
    path.write_text("__import__('os').mkdir('executed')\n")


FORGERIES = (pickled, torch_archive, numpy_objects, python)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A folder with a run, a league and a series that may be copied."""
    folder = tmp_path_factory.mktemp("original")
    hp = Hyperparameters(critic="own", hidden=(8,), epochs=1, returns="vtrace")
    few = {"algo": "ippo", "hp": hp, "mode": "serial", "num_workers": 1, "num_envs_per_worker": 4, "num_splits": 1,
           "rollout": 8, "env_steps": 300, "eval_env_steps": 150, "eval_episodes": 2, "final_eval_episodes": 2,
           "log_seconds": 0.1, "quiet": True}  # fmt: skip
    train(Config(env="games/climbing", run_dir=folder / "run", **few))
    settings = LeagueConfig(snapshot_env_steps=100, live_snapshots=2)
    train(Config(env="native/tic_tac_toe", run_dir=folder / "league", league=settings, **few | {"env_steps": 1500}))
    words = ["train", "games/climbing", "--algo", "ippo", "--hidden", "8", "--mode", "serial", "--seeds", "1"]
    words += ["--num-workers", "1", "--env-steps", "100", "--eval-env-steps", "0", "--final-eval-episodes", "2"]
    assert main([*words, "--run-dir", str(folder / "series"), "--quiet"]) == 0
    return folder


@pytest.fixture
def copy(original, tmp_path, monkeypatch) -> Path:
    for name in ("run", "league", "series"):
        shutil.copytree(original / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfmarl.run.runner.fork_server", lambda: pytest.fail("a process was started"))
    return tmp_path


def trust(path: Path) -> None:
    """Have the manifest of the checkpoint that `path` is part of say that all is well, as a stranger would."""
    folder = next(p for p in path.parents if p.name.startswith("step-"))
    manifest = parse_json((folder / "manifest.json").read_bytes(), folder)
    del manifest["sha256"]
    for name in manifest["files"]:
        sha256, size = hash_file(folder / name)
        manifest["files"][name] = {"sha256": sha256, "bytes": size}
    manifest["sha256"] = manifest_digest(manifest)
    (folder / "manifest.json").write_bytes(dump_json(manifest))


def forgeable(folder: Path) -> dict[Path, list[list[str]]]:
    """Return every kind of file of a run, a league and a series, and the commands that read it."""
    newest = {name: checkpoint_paths(folder / name)[0] for name in ("run", "league")}
    resume, evaluate = ["resume", "run", "--env-steps", "400", "--quiet"], ["evaluate", "run", "--episodes", "1"]
    found = {path: [resume, evaluate, ["export", "run", "--out", "out.pt"]] for path in newest["run"].rglob("*.*")}
    found[folder / "run" / "checkpoints" / "best.json"] = [resume, evaluate]
    for path in (folder / "run").glob("*.*"):
        found[path] = [resume, evaluate, ["compare", "run", "--out", "out"], ["train", "--config", "run", "--dry-run"]]
    for path in (next((folder / "league" / FOLDER).iterdir()), newest["league"] / "run.json"):
        found[path] = [["resume", "league", "--env-steps", "1600", "--quiet"]]
    for path in (folder / "series").glob("*.*"):
        found[path] = [["resume", "series", "--env-steps", "200"], ["compare", "series", "--out", "out"]]
    return {path: words for path, words in found.items() if path.is_file() and path.name != ".lock"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_file_of_a_directory_is_executed(copy, capsys):
    """Every file in turn, for every command that reads it; checkpoints with manifests that vouch for it."""
    for file, commands in forgeable(copy).items():
        relative = file.relative_to(copy)
        whole = relative.parts[0]
        for words in commands:
            shutil.copytree(copy / whole, copy / "kept")
            pickled(file)
            if "checkpoints" in relative.parts and file.name not in ("manifest.json", "best.json"):
                trust(file)
            try:
                code = main(words)
            except SystemExit as stop:
                code = stop.code
            said = "".join(capsys.readouterr())
            assert not (copy / "executed").exists(), (relative, words)
            assert code in (0, 1, 2) and "Traceback" not in said and "not expected" not in said, (relative, words, said)
            for leftover in ("out", whole):
                shutil.rmtree(copy / leftover, ignore_errors=True)
            (copy / "out.pt").unlink(missing_ok=True)
            shutil.move(copy / "kept", copy / whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["policy.json", "actor.safetensors", "learner.json", "learner.safetensors"])
def test_no_process_of_a_resumed_run_executes_a_checkpoint(name, tmp_path):
    """Learner, inference and rollout workers in processes of their own; the manifest vouches for the file."""
    words = "games/climbing --algo ippo --hidden 8 --num-workers 2 --num-envs-per-worker 4 --rollout 8"
    words += " --eval-env-steps 0 --final-eval-episodes 0 --run-dir run --env-steps 1000 --quiet"
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert run([sys.executable, "-m", "sfmarl", "train", *words.split()]).returncode == 0
    newest, *older = checkpoint_paths(tmp_path / "run")
    for path in older:
        shutil.rmtree(path)
    file = next(newest.rglob(name))
    pickled(file)
    trust(file)
    done = run([sys.executable, "-m", "sfmarl", "resume", "run", "--env-steps", "2000", "--quiet"])
    assert done.returncode == 1 and "Traceback" not in done.stderr and str(newest.name) in done.stderr
    assert not (tmp_path / "executed").exists() and checkpoint_paths(tmp_path / "run") == [newest]


@pytest.mark.parametrize("forge", FORGERIES)
@pytest.mark.parametrize(
    "name", ["policy.json", "actor.safetensors", "learner.json", "learner.safetensors", "run.json"]
)
def test_a_checkpoint_that_vouches_for_a_foreign_file_is_refused(copy, forge, name):
    newest = checkpoint_paths(copy / "run")[0]
    file = next(newest.rglob(name))
    forge(file)
    trust(file)
    with pytest.raises(SfmarlError, match=r"safetensors|JSON|cannot be used"):
        load_policy(newest)
    assert not (copy / "executed").exists()


@pytest.mark.parametrize(
    "name",
    [".lock", "metrics.jsonl", "events.jsonl", ".tmp-config.json", ".tmp-summary.json"],
)
def test_nothing_is_written_through_a_link_in_a_run_directory(copy, capsys, name):
    victim, link = copy / "victim", copy / "run" / name
    victim.write_text("{}\n")
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    code = main(["resume", "run", "--env-steps", "600", "--quiet"])
    out, err = capsys.readouterr()
    assert victim.read_text() == "{}\n"
    assert "Traceback" not in err and "not expected" not in err
    if name == ".lock":
        assert code == 2 and "run cannot be used as a run directory: Too many levels of symbolic links" in err
    else:
        assert code == 0 and (".tmp-" in name or name in out)


def test_no_traceback_or_batch_is_written_through_a_link(tmp_path):
    """What a traceback holds is no hindrance either."""
    victim, folder, run = tmp_path / "victim", tmp_path / "folder", tmp_path / "run"
    run.mkdir(), folder.mkdir()
    victim.write_text("mine")
    for name, target in (("crash.txt", victim), (FILE, victim), ("not_finite", folder)):
        (run / name).symlink_to(target)
    said: list[str] = []
    faults = EnvFaults(0, 9, np.zeros(5, np.int64), said.append, run)

    def fail():
        faults.note(EnvFault("it broke: \ud800"))
        with pytest.raises(UserCodeError, match="it broke") as told, traceback_kept(run):
            raise UserCodeError("it broke") from ValueError("\ud800")
        return str(told.value)

    assert "crash.txt" not in fail() and f"{FILE} cannot be written: Too many levels of symbolic links." in said[0]
    for write in (write_text, append_text):
        with pytest.raises(OSError, match="symbolic links"):
            write(run / FILE, "text")
    with pytest.raises(OSError, match="symbolic links"):
        keep_batch(run, "agent-1", {"reward": torch.ones(2)})
    assert victim.read_text() == "mine" and not list(folder.iterdir())

    for link in run.iterdir():
        link.unlink()
    assert "crash.txt" in fail() and FILE in said[1]
    assert "ValueError: \\ud800" in (run / "crash.txt").read_text() and "\\ud800" in (run / FILE).read_text()


def no_teams(saved):
    return []


def no_algorithm(saved):
    return saved | {"algo": ["ippo"]}


def no_agents(saved):
    return saved | {"spec": saved["spec"] | {"agents": []}}


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("teams.json", no_teams, "nobody plays in it"),
        ("policy.json", no_algorithm, r"its algorithm is \['ippo'\]"),
        ("policy.json", no_agents, r"0 agents with \d+ parameter sets"),
    ],
)
def test_a_checkpoint_that_vouches_for_what_makes_no_sense_is_refused(copy, file, change, said):
    """Valid JSON of the right outline."""
    newest = checkpoint_paths(copy / "run")[0]
    path = next(newest.rglob(file))
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    trust(path)
    with pytest.raises(RunError, match=said):
        load_policy(newest)


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_snapshot_is_refused(tmp_path, monkeypatch, forge):
    monkeypatch.chdir(tmp_path)
    store = open_store(tmp_path / "snapshots")
    snapshot = freeze({"a": 1}, np.ones(4, np.float32), SnapshotMeta("main"))
    store.put(snapshot)
    forge(tmp_path / "snapshots" / f"{snapshot.address}.safetensors")
    for read in (store.get, store.describe):
        with pytest.raises(SfmarlError):
            read(snapshot.address)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("forge", FORGERIES)
@pytest.mark.parametrize("name", ["sweep.json", "study.log"])
def test_a_sweep_is_refused(tmp_path, monkeypatch, capsys, forge, name):
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfmarl.results.sweep.train", lambda *a, **k: pytest.fail("a trial was started"))
    (tmp_path / "sweep").mkdir()
    config = Config(env="games/climbing", algo="ippo").to_json() | {"sfmarl_version": "0.1.0"}
    config["hp"] = None
    about = {"config": config, "search": [["lr", "log:1e-4..1e-1"]], "trials": 1, "prune": False}
    (tmp_path / "sweep" / "sweep.json").write_bytes(dump_json(about))
    forge(tmp_path / "sweep" / name)
    assert main(["resume", "sweep"]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert not (tmp_path / "executed").exists() and "Traceback" not in said and "not expected" not in said


def test_the_forgeries_are_dangerous(tmp_path, monkeypatch):
    """What the tests above rely on: whoever does unpickle them makes the directory."""
    monkeypatch.chdir(tmp_path)
    for forge, load in (
        (pickled, lambda p: pickle.loads(p.read_bytes())),
        (torch_archive, lambda p: torch.load(p, weights_only=False)),
        (numpy_objects, lambda p: np.load(p, allow_pickle=True)),
        (python, lambda p: exec(p.read_text())),
    ):
        forge(tmp_path / "file")
        load(tmp_path / "file")
        (tmp_path / "executed").rmdir()
