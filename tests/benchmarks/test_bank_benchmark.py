"""`benchmarks/bank.py` times both ways of acting on the mixes it names, and marks the one that is chosen."""

from __future__ import annotations

import sys

import numpy as np
import pytest


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_a_line_for_every_number_of_policies_and_rows(actions, monkeypatch, capsys):
    import bank

    monkeypatch.setattr(bank, "IN_USE", (1, 5))
    monkeypatch.setattr(bank, "ROWS", (8, 16))
    monkeypatch.setattr(bank, "use_threads", lambda count: None)
    # half a second each: what is printed is twice the rows
    monkeypatch.setattr(bank, "seconds", lambda work: 0.5 if len(work()) == 2 else 0.0)
    monkeypatch.setattr(sys, "argv", ["bank.py", "--actions", actions, "--hidden", "4", "--rounds", "1"])
    bank.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == [
        [str(in_use), str(rows), str(2 * rows), str(2 * rows), "1.00", "loop" if in_use == 1 else "together"]
        for rows in (8, 16)
        for in_use in (1, 5)
    ]


@pytest.mark.parametrize("mix", ["even", "skewed"])
def test_every_policy_has_a_row(mix):
    from bank import who_plays

    slot = who_plays(mix, 1024, 16)
    counts = np.bincount(slot, minlength=16)
    assert len(slot) == 1024 and counts.min() > 0
    assert (counts[0] > 400) == (mix == "skewed")
    assert len(np.unique(who_plays(mix, 8, 16))) == 8
