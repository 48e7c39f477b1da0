"""Spaces to stored arrays and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium import spaces

from sfmarl.envs.codec import ActionCodec, CodecError, ObsCodec, decode_actions, illegal_rows, write_masks
from sfmarl.envs.leaves import all_finite, leaves
from sfmarl.envs.rows import random_actions
from sfmarl.errors import UsageError
from sfmarl.specs import ActionSpec, ObsPart, ObsSpec, PolicySpec

FIVE = ActionSpec("discrete", nvec=(5,), start=(0,))


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (spaces.Box(-1, 1, (4,), np.float32), (4,), "float32"),
        (spaces.Box(-1, 1, (4,), np.float64), (4,), "float32"),
        (spaces.Box(-1, 1, (), np.float32), (1,), "float32"),
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
        expected = raw if isinstance(space, spaces.Box) and space.shape else spaces.flatten(space, raw)
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


PICTURE = spaces.Box(0, 255, (12, 10, 3), np.uint8)
MIXED = spaces.Dict(
    {
        "camera": PICTURE,
        "grid": spaces.Box(0, 1, (2, 8, 9), np.float32),
        "speed": spaces.Box(-np.inf, np.inf, (2,), np.float64),
        "turn": spaces.Discrete(3),
    }
)


def test_images_in_a_dict_stay_images_behind_the_vector():
    codec = ObsCodec(MIXED, FIVE)
    assert codec.spec.dtype == np.float32
    assert codec.spec.parts == (
        ObsPart("vector", (5,)),
        ObsPart("camera", (12, 10, 3), is_bytes=True),
        # channels come first in this one
        ObsPart("grid", (8, 9, 2)),
    )
    MIXED.seed(0)
    raws = [MIXED.sample() for _ in range(4)]
    out = np.full((2, 2, *codec.spec.shape), np.nan, np.float32)
    codec.write(raws, out)
    for raw, row in zip(raws, out.reshape(4, -1), strict=True):
        np.testing.assert_array_equal(row[:2], raw["speed"].astype(np.float32))
        np.testing.assert_array_equal(row[2:5], np.eye(3)[raw["turn"]])
        np.testing.assert_array_equal(row[5:365].reshape(12, 10, 3), raw["camera"])
        np.testing.assert_array_equal(row[365:].reshape(8, 9, 2), raw["grid"].transpose(1, 2, 0))
        np.testing.assert_array_equal(codec.one(raw), row)
    masked = ObsCodec(spaces.Dict({"observation": MIXED, "action_mask": spaces.MultiBinary(5)}), FIVE)
    assert masked.spec == codec.spec
    with pytest.raises(CodecError, match=r"part 'camera': expected shape \(12, 10, 3\), got \(12, 10, 1\)"):
        codec.one({**raws[0], "camera": raws[0]["camera"][..., :1]})


def test_bytes_beside_flags_stay_bytes():
    space = spaces.Tuple((PICTURE, spaces.Discrete(4), spaces.MultiBinary(2)))
    codec = ObsCodec(space, FIVE)
    assert codec.spec.dtype == np.uint8
    assert codec.spec.parts == (ObsPart("vector", (6,)), ObsPart("0", (12, 10, 3), is_bytes=True))
    space.seed(0)
    picture, turn, flags = raw = space.sample()
    assert codec.one(raw).tolist() == [*np.eye(4)[turn], *flags, *picture.ravel()]
    with pytest.raises(CodecError, match="tuple of 3"):
        codec.one((*raw, 1))


def test_the_layout_survives_a_checkpoint():
    obs = ObsCodec(MIXED, FIVE).spec
    spec = PolicySpec("p", obs, FIVE, False, (0, "b"), (0, 0))
    assert PolicySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    old = spec.to_json()
    del old["obs"]["parts"], old["action"]["parts"]
    assert PolicySpec.from_json(old).obs.parts == ()


@pytest.mark.parametrize("shape", [(4, 40, 40), (84, 84)])
def test_pixels_are_stored_height_width_channels(shape):
    space = spaces.Box(0, 255, shape, np.uint8)
    codec = ObsCodec(space, FIVE)
    space.seed(0)
    raws = [space.sample() for _ in range(2)]
    out = np.zeros((2, 1, *codec.spec.shape), np.uint8)
    codec.write(raws, out)
    for raw, row in zip(raws, out[:, 0], strict=True):
        np.testing.assert_array_equal(row, raw.transpose(1, 2, 0) if raw.ndim == 3 else raw[..., None])


@pytest.mark.parametrize("shape", [(3, 3, 2), (5, 3, 3), (27, 5), (2, 4, 4)])
def test_what_is_too_small_for_an_image_keeps_its_shape(shape):
    assert ObsCodec(spaces.Box(-1, 1, shape), FIVE).spec == ObsSpec(shape, np.dtype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_and_those_out_of_bounds_are_not(value):
    codec = ObsCodec(spaces.Box(-1, 1, (3,)), FIVE)
    assert codec.one(np.array([7.0, 0, -9.0], np.float32)).tolist() == [7, 0, -9]
    with pytest.raises(CodecError, match=rf"{value} at 1: observations must be finite"):
        codec.one(np.array([0.0, value, 0.0], np.float32))
    with pytest.raises(CodecError, match="must be finite"):
        ObsCodec(spaces.Dict({"a": spaces.Box(-1, 1, (1,)), "b": spaces.Discrete(2)}), FIVE).one({"a": [value], "b": 1})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_all_finite_agrees_with_numpy(dtype):
    rng = np.random.default_rng(0)
    largest = np.finfo(dtype).max
    for size in (0, 1, 7, 300):
        rows = (rng.normal(size=(size, 2)) * 10).astype(dtype)
        assert all_finite(rows) and all_finite(rows[:, 1])
        if size:
            rows[size // 2, 1] = -largest
            # its square overflows, it is finite all the same
            assert all_finite(rows)
            for bad in (np.nan, np.inf, -np.inf):
                rows[size // 2, 1] = bad
                assert not all_finite(rows) and not all_finite(rows[:, 1]) and all_finite(rows[:, 0])


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


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Text(3), "not supported; use Discrete"),
        (spaces.Tuple((spaces.Discrete(2), spaces.Text(3))), "not supported; use Discrete"),
        (spaces.Dict({"move": spaces.Box(-1, 1), "talk": spaces.Discrete(3)}), "mixes discrete and continuous"),
        (spaces.Tuple(()), "is empty"),
    ],
)
def test_other_action_spaces_are_refused(space, words):
    with pytest.raises(UsageError, match=words):
        ActionCodec(space)


NESTED = [
    spaces.Tuple((spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 4]), spaces.MultiBinary(2))),
    spaces.Dict({"walk": spaces.Discrete(5), "hands": spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3)))}),
    spaces.Tuple((spaces.Box(-0.1, 0.1, (2, 2), np.float64), spaces.Box(0, 9, (1,), np.int32))),
    spaces.Dict({"turn": spaces.Box(-1, 1, (), np.float32), "go": spaces.Box(-np.inf, 2.0, (3,), np.float32)}),
]


def assert_same(action, other):
    if isinstance(action, dict):
        assert action.keys() == other.keys()
        action, other = tuple(action.values()), tuple(other.values())
    if isinstance(action, tuple):
        for one, two in zip(action, other, strict=True):
            assert_same(one, two)
    else:
        assert type(action) is type(other)
        np.testing.assert_array_equal(action, other)


@pytest.mark.parametrize("space", NESTED)
def test_nested_actions_are_one_stored_action(space):
    spec = ActionCodec(space).spec
    assert spec.kind == ("continuous" if any(isinstance(s, spaces.Box) for _, s in leaves(space)) else "multi_discrete")
    rng = np.random.default_rng(0)
    stored = random_actions(spec, (2, 3), rng) if spec.kind != "continuous" else rng.normal(0, 5, (2, 3, *spec.shape))
    policy = PolicySpec("p", ObsSpec((1,), np.dtype(np.float32)), spec, False, (0,), (0,))
    # what a checkpoint keeps decodes alike
    kept = PolicySpec.from_json(json.loads(json.dumps(policy.to_json()))).action
    assert kept.parts == spec.parts
    for rows, again in zip(decode_actions(spec, stored), decode_actions(kept, stored), strict=True):
        for action, other in zip(rows, again, strict=True):
            assert space.contains(action)
            assert_same(action, other)


def test_nested_discrete_parts_keep_their_columns():
    decode = ActionCodec(NESTED[1]).decode
    # keys of a Dict in its own order: hands, then walk
    assert decode(np.array([[[1, 2, 4]]], np.int32)) == [[{"hands": (1, 2), "walk": 4}]]


def test_masks_of_nested_actions_follow_the_parts():
    spec = ActionCodec(NESTED[1]).spec
    out = np.zeros((2, 10), bool)
    hands, walk = ([1, 0], [0, 0, 1]), np.array([1, 0, 0, 0, 1])
    write_masks([{"walk": walk, "hands": hands}, None], out, spec)
    assert out.astype(int).tolist() == [[1, 0, 0, 0, 1, 1, 0, 0, 0, 1], [1] * 10]
    with pytest.raises(CodecError, match="'walk'"):
        write_masks([{"hands": hands}], out[:1], spec)
    with pytest.raises(CodecError, match="Dict actions only"):
        write_masks([{"hands": hands}], out[:1], FIVE)


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
