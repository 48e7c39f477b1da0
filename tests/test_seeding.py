"""Seeds and streams: equal paths equal streams, and a stream goes on where it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sfmarl.seeding import generator_state, restore_generator, seed_for


def test_seeds_depend_on_every_part_of_the_path():
    paths = [(1, "env", 0), (2, "env", 0), (1, "act", 0), (1, "env", 1), (1, "env", 0, 0)]
    seeds = [seed_for(*path) for path in paths]
    assert len(set(seeds)) == len(paths)
    assert seeds == [seed_for(*path) for path in paths]


def test_seeds_fit_a_signed_int():
    seeds = [seed_for(1, "env", n) for n in range(200)]
    assert min(seeds) >= 0 and 2**30 < max(seeds) < 2**31


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.SFC64, np.random.MT19937, np.random.Philox])
def test_numpy_streams_survive_json(bits):
    generator, other = np.random.Generator(bits(1)), np.random.Generator(bits(2))
    generator.random(3)
    state = json.loads(json.dumps(generator_state(generator)))
    expected = generator.random(5)
    assert restore_generator(other, state)
    assert np.array_equal(other.random(5), expected)


def test_torch_streams_survive_json():
    generator, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    torch.rand(3, generator=generator)
    state = json.loads(json.dumps(generator_state(generator)))
    expected = torch.rand(5, generator=generator)
    assert restore_generator(other, state)
    assert torch.equal(torch.rand(5, generator=other), expected)


def test_another_kind_of_generator_is_left_alone():
    generator, untouched = (np.random.Generator(np.random.PCG64(1)) for _ in range(2))
    for state in (None, generator_state(np.random.Generator(np.random.SFC64(1))), generator_state(torch.Generator())):
        assert not restore_generator(generator, state)
    assert generator.random() == untouched.random()
