from __future__ import annotations

import bisect
import errno
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from sfmarl.errors import RunError, UsageError
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec
from sfmarl.storage import checkpoint as checkpoints
from sfmarl.storage.checkpoint import Checkpoint, Seat
from sfmarl.storage.checkpoint_reader import manifest_digest
from sfmarl.storage.durable import contained, dump_json, hash_file, original_name, parse_json, safe_name

FILES = (
    "manifest.json",
    "run.json",
    "teams.json",
    "policies/agent/policy.json",
    "policies/agent/actor.safetensors",
    "policies/agent/learner.json",
    "policies/agent/learner.safetensors",
)


@dataclass
class Hyper:
    lr: float = 7e-4
    hidden: tuple[int, ...] = (64, 64)


def policy_spec(name: str = "agent") -> PolicySpec:
    action = ActionSpec(
        "continuous", low=np.array([-1, -np.inf], np.float32), high=np.ones(2, np.float32), env_shape=(2,)
    )
    return PolicySpec(name, ObsSpec((4,), np.dtype(np.float32)), action, False, ("agent_0", "agent_1"), (0, 1))


def actor(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    net.tied = net[0]  # the same parameters under a second name
    return net


def write(run_dir: Path, env_steps: int, names: tuple[str, ...] = ("agent",), seed: int = 0) -> Path:
    tmp = checkpoints.begin(run_dir, env_steps)
    for name in names:
        state = {
            "tensors": {"adam/step": torch.tensor(7), "ema": torch.arange(6).view(2, 3).T},
            "scalars": {"beta": 0.5},
        }
        checkpoints.write_policy(tmp, policy_spec(name), "mappo", Hyper(), actor(seed), state, env_steps // 100)
    teams = {"team": Seat(names[0], ("agent_0", "agent_1"))}
    return checkpoints.commit(tmp, {"env_steps": env_steps, "rng": [1, 2, 3]}, teams)


def rewrite_manifest(path: Path) -> None:
    """Make a changed checkpoint consistent again, as somebody who wants it loaded would."""
    manifest = parse_json((path / "manifest.json").read_bytes(), path)
    del manifest["sha256"]
    for name in manifest["files"]:
        sha256, size = hash_file(path / name)
        manifest["files"][name] = {"sha256": sha256, "bytes": size}
    manifest["sha256"] = manifest_digest(manifest)
    (path / "manifest.json").write_bytes(dump_json(manifest))


def test_everything_comes_back(tmp_path):
    path = write(tmp_path, 200704, ("agent", "../evil/ ünï.%2e"))
    assert path == tmp_path / "checkpoints" / "step-000000200704"
    found = checkpoints.latest(tmp_path)
    assert (found.path, found.env_steps) == (path, 200704)
    assert sorted(found.policy_names) == sorted(("agent", "../evil/ ünï.%2e"))
    assert found.run_state == {"env_steps": 200704, "rng": [1, 2, 3]}
    assert found.teams == {"team": Seat("agent", ("agent_0", "agent_1"))}
    for name in found.policy_names:
        state = found.read_policy(name)
        assert state.spec.to_json() == policy_spec(name).to_json()
        assert (state.algo, state.policy_version) == ("mappo", 2007)
        assert state.hp == {"lr": 7e-4, "hidden": [64, 64]}
        fresh = actor(seed=1)
        fresh.load_state_dict(state.actor_tensors)
        for key, value in actor(0).state_dict().items():
            assert torch.equal(fresh.state_dict()[key], value)
        tensors = state.algorithm_state["tensors"]
        assert tensors["adam/step"] == 7
        assert tensors["adam/step"].dtype == torch.int64
        assert torch.equal(tensors["ema"], torch.arange(6).view(2, 3).T)
        assert state.algorithm_state["scalars"] == {"beta": 0.5}
    with pytest.raises(RunError, match=r"no policy 'other', only"):
        found.read_policy("other")


def test_without_teams_every_policy_plays_its_own(tmp_path):
    tmp = checkpoints.begin(tmp_path, 1)
    checkpoints.write_policy(tmp, policy_spec("p"), "ippo", {}, actor(), {"tensors": {}, "scalars": {}}, 0)
    checkpoints.commit(tmp, None)
    assert checkpoints.latest(tmp_path).teams == {"p": Seat("p", ("agent_0", "agent_1"))}


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_another(path: Path) -> None:
    path.write_bytes(b'{"format": 1, "files": {}}')


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (truncate, flip_a_bit, delete, empty, replace_by_another, replace_by_directory)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_used(tmp_path, file, damage):
    old, new = write(tmp_path, 100), write(tmp_path, 200)
    damage(new / file)
    warnings: list[str] = []
    assert checkpoints.latest(tmp_path, warnings.append).path == old
    assert len(warnings) == 1
    assert str(new) in warnings[0]
    if file != "manifest.json":
        assert file in warnings[0]
    damage(old / file)
    with pytest.raises(RunError) as error:
        checkpoints.latest(tmp_path)
    assert str(new) in str(error.value)
    assert str(old) in str(error.value)


def test_any_flipped_bit_of_the_manifest_is_noticed_or_harmless(tmp_path):
    path = write(tmp_path, 100)
    manifest = path / "manifest.json"
    whole = manifest.read_bytes()
    meaning = parse_json(whole, manifest)
    noticed = 0
    for position in range(0, len(whole), 3):
        data = bytearray(whole)
        data[position] ^= 1 << position % 7
        manifest.write_bytes(data)
        try:
            Checkpoint(path)
        except RunError:
            noticed += 1
        else:
            assert parse_json(bytes(data), manifest) == meaning
    assert noticed > len(whole) / 3 * 0.8


def test_files_that_do_not_belong_are_not_read(tmp_path):
    path = write(tmp_path, 100)
    shutil.copytree(path / "policies" / "agent", path / "policies" / "intruder")
    assert Checkpoint(path).policy_names == ("agent",)


def test_a_pickle_in_disguise_is_refused_and_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    path = write(tmp_path, 100)
    for content in (pickle.dumps(Evil()), b"PK\x03\x04 torch archive", b"\xff" * 64):
        (path / "policies/agent/actor.safetensors").write_bytes(content)
        rewrite_manifest(path)
        with pytest.raises(RunError, match="not a safetensors file"):
            checkpoints.latest(tmp_path).read_policy("agent")
    assert not (tmp_path / "executed").exists()


def test_json_of_the_wrong_kind_is_an_error_in_words(tmp_path):
    path = write(tmp_path, 100)
    for content in (b"[]", b"{}", b"null", b'{"spec": {"name": 1}}', b"[" * 100_000):
        (path / "policies/agent/policy.json").write_bytes(content)
        rewrite_manifest(path)
        with pytest.raises(RunError, match="agent"):
            Checkpoint(path).read_policy("agent")


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "policies/../../outside.json"])
def test_a_manifest_cannot_name_files_outside(tmp_path, name):
    path = write(tmp_path, 100)
    (tmp_path / "checkpoints/outside.json").write_text("{}")
    manifest = parse_json((path / "manifest.json").read_bytes(), path)
    del manifest["sha256"]
    manifest["files"][name] = {"sha256": "0", "bytes": 2}
    manifest["sha256"] = manifest_digest(manifest)
    (path / "manifest.json").write_bytes(dump_json(manifest))
    with pytest.raises(RunError, match="not a path inside"):
        Checkpoint(path)


def test_a_manifest_of_names_that_nobody_writes_does_not_hide_the_checkpoint_before_it(tmp_path):
    old, new = write(tmp_path, 100), write(tmp_path, 200)
    manifest = parse_json((new / "manifest.json").read_bytes(), new)
    del manifest["sha256"]
    manifest["files"][f"policies/{'x' * 245}/policy.json"] = {"sha256": "0", "bytes": 2}
    manifest["sha256"] = manifest_digest(manifest)
    (new / "manifest.json").write_bytes(dump_json(manifest))
    warnings: list[str] = []
    assert checkpoints.latest(tmp_path, warnings.append).path == old
    assert len(warnings) == 1 and str(new) in warnings[0]


def test_a_deep_manifest_does_not_hide_the_checkpoint_before_it(tmp_path):
    """There is a depth that can be read, but not be written to be hashed."""
    old, new = write(tmp_path, 100), write(tmp_path, 200)

    def passed_over(depth: int) -> bool:
        """Use the old one; return whether the new one could not even be read."""
        (new / "manifest.json").write_text('{"format": 1, "files": ' + '{"x":' * depth + "1" + "}" * depth + "}")
        warnings: list[str] = []
        assert checkpoints.latest(tmp_path, warnings.append).path == old
        return "manifest.json is damaged" not in warnings[0]

    first = bisect.bisect_left(range(sys.getrecursionlimit()), True, key=passed_over)
    for depth in range(first - 5, first + 5):
        passed_over(depth)


@pytest.mark.parametrize("version", ["Infinity", "NaN", "-5", "1e3", str(10**30), str(2**62), "true", '"7"', "null"])
def test_a_version_that_no_learner_has_counted_is_refused(tmp_path, version):
    path = write(tmp_path, 100)
    about = path / "policies/agent/policy.json"
    about.write_text(about.read_text().replace('"policy_version": 1', f'"policy_version": {version}'))
    rewrite_manifest(path)
    with pytest.raises(RunError, match=r"'agent' of checkpoint .*version is"):
        checkpoints.latest(tmp_path).read_policy("agent")


def test_a_directory_that_nobody_may_look_at_is_an_error_in_words(tmp_path, monkeypatch):
    write(tmp_path, 100)

    def refused(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refused)
        for look in (checkpoints.checkpoint_paths, checkpoints.latest, checkpoints.open_checkpoint):
            with pytest.raises(RunError, match=f"{tmp_path / 'checkpoints'} cannot be read: Permission denied"):
                look(tmp_path)
    with pytest.raises(UsageError, match="x cannot be read: File name too long"):
        checkpoints.open_checkpoint(tmp_path / ("x" * 300))
    with pytest.raises(UsageError, match="has no checkpoint 'xxx"):
        checkpoints.open_checkpoint(tmp_path, "x" * 300)


def test_links_in_a_circle_are_an_error_in_words(tmp_path):
    (tmp_path / "checkpoints").symlink_to("checkpoints")
    with pytest.raises(RunError, match="could not be written"):
        checkpoints.begin(tmp_path, 1)


def test_links_that_leave_are_refused(tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    path = write(run, 100)
    shutil.move(path / "run.json", outside)
    (path / "run.json").symlink_to(outside)
    with pytest.raises(RunError, match="leaves"):
        checkpoints.latest(run)
    shutil.rmtree(path)
    path.symlink_to(write(tmp_path / "other", 100))
    with pytest.raises(RunError, match="leaves"):
        checkpoints.latest(run)
    shutil.rmtree(run)
    run.mkdir()
    (run / "checkpoints").symlink_to(tmp_path / "other")
    with pytest.raises(RunError, match="leaves"):
        checkpoints.begin(run, 1)


@pytest.mark.parametrize("name", ["agent", "..", ".", "a/b", "a\\b", "ü \n%", "-rf", "CON", "%2E", "x" * 240])
def test_names_become_file_names_reversibly(name):
    component = safe_name(name)
    assert "/" not in component
    assert "\0" not in component
    assert component not in (".", "..")
    assert original_name(component) == name


def test_impossible_names_and_paths_are_refused(tmp_path):
    for name in ("", "x" * 300):
        with pytest.raises(UsageError):
            safe_name(name)
    for component in ("..", "a b", "%2e", "a/b", "%zz", "x" * 245, "%FF" * 80):
        with pytest.raises(RunError):
            original_name(component)
    for relative in ("", "/etc", "../x", "a/../b", "a\0b"):
        with pytest.raises(RunError):
            contained(tmp_path, relative)


def test_same_env_steps_twice_overwrites_nothing(tmp_path):
    first, second = write(tmp_path, 100, seed=0), write(tmp_path, 100, seed=1)
    assert second.name == f"{first.name}.1"
    assert checkpoints.checkpoint_paths(tmp_path) == [second, first]
    assert Checkpoint(second).env_steps == 100
    weights = [Checkpoint(p).read_policy("agent").actor_tensors["0.weight"] for p in (first, second)]
    assert not torch.equal(*weights)


def test_damaged_checkpoints_a_resumed_run_went_behind_do_not_push_out_its_new_ones(tmp_path):
    old = write(tmp_path, 100)
    for path in [write(tmp_path, steps) for steps in (200, 300, 300, 400)]:
        truncate(path / "run.json")
    new = write(tmp_path, 300)
    checkpoints.prune(tmp_path, 2)
    assert [p.name for p in checkpoints.checkpoint_paths(tmp_path)] == [new.name, "step-000000000200"]
    assert checkpoints.latest(tmp_path).path == new
    names = {p.name for p in old.parent.iterdir()} - {new.name, "step-000000000200"}
    assert names == {f"damaged-step-000000000{n}" for n in ("300", "300.1", "400")}


def test_pruning_keeps_the_newest_the_best_and_the_protected(tmp_path):
    paths = [write(tmp_path, n * 100) for n in range(1, 7)]
    checkpoints.mark_best(tmp_path, paths[1], -36.5, "team sum")
    checkpoints.prune(tmp_path, 2, protect=[paths[0]])
    assert checkpoints.checkpoint_paths(tmp_path) == [paths[5], paths[4], paths[1], paths[0]]
    assert not list((tmp_path / "checkpoints").glob(".tmp-*"))
    best = checkpoints.read_best(tmp_path)
    assert (best.checkpoint, best.score, best.metric) == (paths[1].name, -36.5, "team sum")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"checkpoint": "../x", "score": 1, "metric": "m"}', b'{"score": 1}'])
def test_a_damaged_best_record_is_reported(tmp_path, content):
    write(tmp_path, 100)
    assert checkpoints.read_best(tmp_path) is None
    (tmp_path / "checkpoints/best.json").write_bytes(content)
    warnings: list[str] = []
    assert checkpoints.read_best(tmp_path, warnings.append) is None
    assert "best checkpoint" in warnings[0]


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(RunError, match=f"holds no checkpoint: .*sfmarl train --config {tmp_path}"):
        checkpoints.latest(tmp_path)


def test_disk_full_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    """Every write, sync and rename of a second checkpoint fails once, in turn."""
    old = write(tmp_path, 100)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failing_at(count: int, real):
        calls = iter(range(10**6))
        return lambda *args, **kwargs: full() if next(calls) == count else real(*args, **kwargs)

    failures: list[str] = []
    for owner, name in ((Path, "write_bytes"), (os, "fsync"), (os, "rename"), (Path, "mkdir")):
        for count in range(20):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, failing_at(count, getattr(owner, name)))
                try:
                    new = write(tmp_path, 200)
                except RunError as error:
                    failures.append(str(error))
                else:
                    shutil.rmtree(new)
                    break
            # a failed fsync of the parent may leave a complete new one: that is whole, too
            assert checkpoints.latest(tmp_path).path in (old, tmp_path / "checkpoints/step-000000000200")
            shutil.rmtree(tmp_path / "checkpoints/step-000000000200", ignore_errors=True)
    assert len(failures) >= 6 + 7 + 1 + 2
    assert all("No space left on device" in text for text in failures)


def test_a_kill_while_writing_leaves_the_previous_checkpoint(tmp_path):
    """The writer is killed by SIGKILL at each of its file operations in turn."""
    script = """
        import os, pathlib, signal, sys
        sys.path.insert(0, sys.argv[1])
        from test_checkpoint import write
        os.chdir(sys.argv[2])
        root = pathlib.Path(".")
        write(root, 100)
        first = os.getpid()
        for count in range(60):
            child = os.fork()
            if child == 0:
                left = iter(range(count))
                def dying(real):
                    def call(*args, **kwargs):
                        if next(left, None) is None:
                            os.kill(os.getpid(), signal.SIGKILL)
                        return real(*args, **kwargs)
                    return call
                pathlib.Path.write_bytes = dying(pathlib.Path.write_bytes)
                for name in ("fsync", "rename", "mkdir"):
                    setattr(os, name, dying(getattr(os, name)))
                write(root, 200)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                break
            from sfmarl.storage.checkpoint import latest
            found = latest(root, warn=lambda text: sys.exit("reported: " + text))
            assert found.env_steps in (100, 200), found.path
            if found.env_steps == 200:
                import shutil
                shutil.rmtree(found.path)
        print(count, os.WEXITSTATUS(status), sorted(os.listdir("checkpoints")))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    kills, status, left = done.stdout.split(maxsplit=2)
    assert int(kills) >= 15
    assert (int(status), left.strip()) == (0, "['step-000000000100', 'step-000000000200']")


def test_leftovers_are_removed_when_the_next_one_begins(tmp_path):
    for n in (1, 2):
        checkpoints.begin(tmp_path, n)
    (tmp_path / "checkpoints/.tmp-best.json").write_text("half")
    tmp = checkpoints.begin(tmp_path, 3)
    assert os.listdir(tmp_path / "checkpoints") == [tmp.name]
    assert os.listdir(tmp) == ["policies"]
