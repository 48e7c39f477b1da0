"""Whatever a checkpoint holds comes back; whatever a disk does to it is named, and never gives other weights."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sfmarl.errors import RunError
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec
from sfmarl.storage import checkpoint as checkpoints
from sfmarl.storage.checkpoint import PolicyState, Seat, copy_policy

DTYPES = [np.float32, np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_]
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
TENSORS = st.dictionaries(
    KEYS.filter(lambda key: key != "__metadata__"),
    st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, max_side=4))),
    max_size=4,
)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
POLICIES = st.lists(
    st.tuples(NAMES, TENSORS, TENSORS, JSON), min_size=1, max_size=3, unique_by=lambda policy: policy[0]
)


def state(name: str, actor: dict, learner: dict, scalars, version: int = 3) -> PolicyState:
    spec = PolicySpec(
        name,
        ObsSpec((4,), np.dtype(np.float32)),
        ActionSpec("discrete", nvec=(3,), start=(0,)),
        False,
        ("a", 7),
        (0, 0),
    )
    tensors = [{key: torch.from_numpy(array.copy()) for key, array in group.items()} for group in (actor, learner)]
    return PolicyState(spec, "ippo", {"lr": 1e-3}, tensors[0], {"tensors": tensors[1], "scalars": scalars}, version)


def write(run_dir: Path, env_steps: int, policies, run_state=None) -> Path:
    tmp = checkpoints.begin(run_dir, env_steps)
    for policy in policies:
        copy_policy(tmp, policy)
    return checkpoints.commit(tmp, run_state, {p.spec.name: Seat(p.spec.name, p.spec.agents) for p in policies})


def equal(one: PolicyState, other: PolicyState) -> bool:
    def same(some: dict, others: dict) -> bool:
        # bit by bit: NaN is a value like any other
        return some.keys() == others.keys() and all(
            x.dtype == others[key].dtype
            and x.shape == others[key].shape
            and x.numpy().tobytes() == others[key].numpy().tobytes()
            for key, x in some.items()
        )

    return (
        same(one.actor_tensors, other.actor_tensors)
        and same(one.algorithm_state["tensors"], other.algorithm_state["tensors"])
        and one.algorithm_state["scalars"] == other.algorithm_state["scalars"]
        and one.policy_version == other.policy_version
        and one.spec.to_json() == other.spec.to_json()
        and (one.algo, one.hp) == (other.algo, other.hp)
    )


@settings(max_examples=60)
@given(policies=POLICIES, run_state=JSON, env_steps=st.integers(0, 10**15))
def test_everything_comes_back(policies, run_state, env_steps):
    states = [state(*policy) for policy in policies]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), env_steps, states, run_state)
        found = checkpoints.latest(Path(folder))
        assert found.path == path and found.env_steps == env_steps and found.run_state == run_state
        assert set(found.policy_names) == {s.spec.name for s in states}
        for saved in states:
            assert equal(found.read_policy(saved.spec.name), saved)


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_happens_to_a_file_the_weights_are_those_that_were_saved(data):
    """Flipped, cut, lengthened, emptied, exchanged: it is noticed, or it changes nothing that is read."""
    old, new = (state("p", {"w": np.full((2, 3), n, np.float32)}, {"m": np.arange(n)}, {"n": n}, n) for n in (1, 2))
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        write(run_dir, 100, [old], {"n": 1})
        newest = write(run_dir, 200, [new], {"n": 2})
        files = sorted(path for path in newest.rglob("*") if path.is_file())
        path = data.draw(st.sampled_from(files), label="file")
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1), label="place")
        match data.draw(st.sampled_from(["flip", "cut", "insert", "remove", "exchange", "delete"]), label="damage"):
            case "flip":
                content[place] ^= data.draw(st.integers(1, 255))
            case "cut":
                del content[place:]
            case "insert":
                content[place:place] = data.draw(st.binary(min_size=1, max_size=16))
            case "remove":
                del content[place : place + data.draw(st.integers(1, 16))]
            case "exchange":
                content[:] = data.draw(st.sampled_from(files)).read_bytes()
            case "delete":
                content = None
        path.unlink() if content is None else path.write_bytes(content)
        told: list[str] = []
        found = checkpoints.latest(run_dir, told.append)
        saved = new if found.path == newest else old
        assert equal(found.read_policy("p"), saved) and found.run_state == {"n": saved.policy_version}
        assert bool(told) == (saved is old)
        assert all(newest.name in text for text in told)


@settings(max_examples=60)
@given(data=st.data())
def test_with_no_checkpoint_left_the_error_has_words(data):
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        only = write(run_dir, 100, [state("p", {"w": np.ones(3, np.float32)}, {}, {})])
        for path in sorted(path for path in only.rglob("*") if path.is_file()):
            if data.draw(st.booleans()):
                path.write_bytes(data.draw(st.binary(max_size=64)))
        with contextlib.suppress(RunError):
            assert equal(
                checkpoints.latest(run_dir).read_policy("p"), state("p", {"w": np.ones(3, np.float32)}, {}, {})
            )
