"""Spaces to stored arrays and back."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from sfmarl.envs.codec import ActionCodec, CodecError, ObsCodec, illegal_rows, write_masks
from sfmarl.errors import UsageError
from sfmarl.specs import ActionSpec

FIVE = ActionSpec("discrete", nvec=(5,), start=(0,))


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (spaces.Box(-1, 1, (4,), np.float32), (4,), "float32"),
        (spaces.Box(-1, 1, (4,), np.float64), (4,), "float32"),
        (spaces.Box(-1, 1, (), np.float32), (), "float32"),
        (spaces.Box(0, 255, (20, 20, 3), np.uint8), (20, 20, 3), "uint8"),
        (spaces.Box(0, 255, (84, 84, 3), np.uint8), (84, 84, 3), "uint8"),
        (spaces.Box(0, 9, (2, 3), np.uint16), (2, 3), "float32"),
        (spaces.Box(-9, 9, (2,), np.int64), (2,), "int64"),
        (spaces.Discrete(6, start=2), (6,), "float32"),
        (spaces.MultiDiscrete([3, 4]), (7,), "float32"),
        (spaces.MultiBinary((2, 2)), (4,), "float32"),
        (spaces.Dict({"a": spaces.Box(0, 1, (2, 2)), "b": spaces.Tuple([spaces.Discrete(3)])}), (7,), "float32"),
        (spaces.Tuple((spaces.Box(-1, 1, (3,), np.float64), spaces.Discrete(2))), (5,), "float32"),
    ],
)
def test_observations_are_stored_in_the_native_or_flat_form(space, shape, dtype):
    codec = ObsCodec(space, FIVE)
    assert codec.spec.shape == shape
    assert codec.spec.dtype == np.dtype(dtype)
    assert not codec.has_mask
    space.seed(0)
    raws = [space.sample() for _ in range(6)]
    out = np.empty((2, 3, *shape), codec.spec.dtype)
    codec.write(raws, out)
    for i, raw in enumerate(raws):
        expected = raw if isinstance(space, spaces.Box) else spaces.flatten(space, raw)
        np.testing.assert_array_equal(out[divmod(i, 3)], np.asarray(expected).astype(dtype))
        np.testing.assert_array_equal(codec.one(raw), out[divmod(i, 3)])


@pytest.mark.parametrize(
    "inner",
    [
        {"observation": spaces.Box(-1, 1, (3,))},
        {"board": spaces.Discrete(4)},
        {"x": spaces.Box(-1, 1, (2,)), "y": spaces.Discrete(3)},
        {"observation": spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "y": spaces.Discrete(3)})},
    ],
)
def test_the_mask_is_split_off_the_observation(inner):
    space = spaces.Dict({**inner, "action_mask": spaces.MultiBinary(5)})
    codec = ObsCodec(space, FIVE)
    rest = next(iter(inner.values())) if len(inner) == 1 else spaces.Dict(inner)
    assert codec.has_mask
    assert codec.spec.shape == (spaces.flatdim(rest),)
    space.seed(0)
    raw = space.sample()
    own = raw[next(iter(inner))] if len(inner) == 1 else {key: raw[key] for key in inner}
    np.testing.assert_array_equal(codec.one(raw), spaces.flatten(rest, own).astype(np.float32))


@pytest.mark.parametrize(
    ("space", "raw", "words"),
    [
        (spaces.Box(-1, 1, (3,)), np.zeros(4), ["(3,)", "(4,)"]),
        (spaces.Box(-1, 1, (3,)), np.zeros((1, 3)), ["(3,)", "(1, 3)"]),
        (spaces.Box(0, 255, (3,), np.uint8), np.zeros(3), ["uint8", "float64"]),
        (spaces.Box(0, 255, (64, 64), np.uint8), np.zeros((64, 64)), ["uint8", "float64"]),
        (spaces.Box(0, 255, (64, 64), np.uint8), np.zeros((64, 63), np.uint8), ["(64, 64)", "(64, 63)"]),
        (spaces.Box(-1, 1, (3,)), "abc", ["(3,)", "()"]),
        (spaces.Discrete(3), 7, ["Discrete(3)", "7"]),
        (spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(2)}), {"a": 1}, ["'b'"]),
        (spaces.Dict({"observation": spaces.Box(0, 1), "action_mask": spaces.MultiBinary(5)}), [1.0], ["observation"]),
    ],
)
def test_what_does_not_fit_says_what_was_expected_and_what_came(space, raw, words):
    with pytest.raises(CodecError) as caught:
        ObsCodec(space, FIVE).one(raw)
    for word in words:
        assert word in str(caught.value)


def test_one_short_and_one_long_observation_do_not_make_up_for_each_other():
    codec = ObsCodec(spaces.Box(-1, 1, (3,)), FIVE)
    with pytest.raises(CodecError):
        codec.write([np.zeros(2, np.float32), np.zeros(4, np.float32)], np.empty((2, 3), np.float32))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Sequence(spaces.Discrete(3)),
        spaces.Dict({"action_mask": spaces.MultiBinary(5)}),
        spaces.Dict({"observation": spaces.Discrete(2), "action_mask": spaces.MultiBinary(4)}),
    ],
)
def test_observation_spaces_without_a_stored_form_are_refused(space):
    with pytest.raises(UsageError):
        ObsCodec(space, FIVE)


def test_discrete_actions_are_python_ints_from_start():
    codec = ActionCodec(spaces.Discrete(4, start=-1))
    assert codec.spec == ActionSpec("discrete", nvec=(4,), start=(-1,))
    moves = codec.decode(np.array([[0, 3], [1, 2]], np.int32))
    assert moves == [[-1, 2], [0, 1]]
    assert type(moves[0][0]) is int


def test_multi_discrete_and_multi_binary_actions():
    space = spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [0, -1]])
    codec = ActionCodec(space)
    assert (codec.spec.nvec, codec.spec.start) == ((2, 3, 4, 5), (0, 1, 0, -1))
    move = codec.decode(np.array([[[1, 2, 3, 4]]], np.int32))[0][0]
    assert move.tolist() == [[1, 3], [3, 3]]
    assert move in space
    binary = spaces.MultiBinary(3)
    codec = ActionCodec(binary)
    assert codec.spec.nvec == (2, 2, 2)
    move = codec.decode(np.array([[[1, 0, 1]]], np.int32))[0][0]
    assert move.tolist() == [1, 0, 1]
    assert move in binary


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_continuous_actions_are_clipped_to_the_space_in_its_own_dtype(dtype):
    # 0.1 is not a float32: clipping in float32 alone would leave a float64 box
    space = spaces.Box(np.array([[-0.1, -np.inf]], dtype), np.array([[0.1, 2.0]], dtype), dtype=dtype)
    codec = ActionCodec(space)
    assert codec.spec.env_shape == (1, 2)
    assert codec.spec.shape == (2,)
    assert (codec.spec.low.dtype, codec.spec.env_dtype) == (dtype, dtype)
    stored = np.array([[[5.0, -1e9], [-5.0, 7.0], [0.05, 1.0]]], np.float32)
    before = stored.copy()
    for move in (moves := codec.decode(stored)[0]):
        assert move in space
        assert move.dtype == dtype
    assert moves[2][0, 1] == 1.0
    np.testing.assert_array_equal(stored, before)


def test_integer_boxes_are_rounded():
    space = spaces.Box(0, 10, (1,), np.int32)
    moves = ActionCodec(space).decode(np.array([[[2.6], [-3.0], [99.0]]], np.float32))[0]
    assert [move.tolist() for move in moves] == [[3], [0], [10]]
    assert moves[0] in space


def test_other_action_spaces_are_refused():
    with pytest.raises(UsageError, match=r"Dict.*use Discrete"):
        ActionCodec(spaces.Dict({"a": spaces.Discrete(2)}))


def test_masks_are_flat_arrays_or_one_array_per_component():
    out = np.zeros((2, 2, 5), bool)
    flat, parts = np.array([1, 0, 0, 1, 1], np.int8), (np.array([1, 0], np.int8), np.array([0, 1, 1], np.int8))
    write_masks([flat, parts, None, flat.astype(bool).tolist()], out)
    assert out.reshape(4, 5).astype(int).tolist() == [[1, 0, 0, 1, 1]] * 2 + [[1] * 5, [1, 0, 0, 1, 1]]
    with pytest.raises(CodecError, match="5 entries"):
        write_masks([flat[:4]], out[:1, 0])


def test_every_component_needs_a_legal_choice():
    masks = np.array([[1, 0, 0, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
    assert illegal_rows(masks, (2, 3)).tolist() == [False, True, True]
    assert illegal_rows(masks, (5,)).tolist() == [False, False, False]
    assert illegal_rows(np.zeros((1, 5), bool), (5,)).tolist() == [True]
