"""`benchmarks/copies.py`: bytes are counted where they are written, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
import torch


def test_what_is_written_is_counted():
    from copies import Counts, counting

    counts = Counts(obs_bytes=12)
    rows, other = np.arange(24, dtype=np.uint8).reshape(2, 12), np.zeros((3, 12), np.uint8)
    with counting(counts):
        memory = torch.zeros((4, 12), dtype=torch.uint8).numpy()
        memory[:2] = rows
        memory[3] = 0
        assert counts.bytes.total() == 24, "clearing is no copy"
        _ = memory[1:].reshape(-1), memory[0, :5]
        assert counts.bytes.total() == 24, "nor is a view, nor a part of an observation"
        _ = memory[[0, 2]]
        np.copyto(other, memory[:3])
        joined = np.concatenate([memory[:1], memory[2:]], out=other)
        assert counts.bytes.total() == 24 + 24 + 36 + 36
        np.testing.assert_array_equal(joined[0], rows[0])

        counts.bytes.clear()
        tensor = torch.from_numpy(other)
        _ = tensor[1:], torch.where(tensor > 3, tensor, 0), tensor.float()
        tensor.mul_(1)
        assert {what: n for (_, what), n in counts.bytes.items()} == {"copied": 72, "converted": 36}


def test_a_training_is_accounted_for(tmp_path):
    import copies

    record = copies.measure(image_size=40, agents=2, env_steps=256, algo="appo")

    found = {row["place"]: row for row in record["places"]}
    assert record["agent_steps"] == 512
    assert found["envs/native_dict.py:step"]["what"] == "written"
    assert found["envs/native_dict.py:step"]["per_agent_step"] == pytest.approx(1.0)
    into_batch = [row["per_agent_step"] for place, row in found.items() if place.startswith("workers/gather.py")]
    assert sum(into_batch) == pytest.approx(33 / 32)
    # each of acting, the actor and the critic reads them as floats
    assert found["models/convolutions.py:_encode"]["what"] == "converted"
    assert record["copies"] >= 2
    assert f"{record['copies']:.2f}" in copies.page(record | {"command": "x", "machine": copies.machine.describe()})
