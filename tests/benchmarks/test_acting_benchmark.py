"""`benchmarks/acting.py` times the implementations it says it does."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.parametrize("work", ["gru", "masks"])
def test_every_implementation_is_timed_on_the_same_rows(work, monkeypatch, capsys):
    import acting
    from bare_eager import FORWARD_ROWS

    from sfmarl.models.acting_torch import TorchActing

    made = []
    torch_path = acting.torch_path
    monkeypatch.setattr(acting, "torch_path", lambda *args: made.append(torch_path(*args)) or made[-1])
    # one unit of time a call: what is printed is the rows of a call
    monkeypatch.setattr(acting, "cpu_seconds", lambda timed: timed() or float(acting.CALLS))
    monkeypatch.setattr(acting, "use_threads", lambda count: None)
    monkeypatch.setattr(sys, "argv", ["acting.py", "--env", work, "--rounds", "1"])
    acting.main()
    assert isinstance(made[0], TorchActing)
    row = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-1].strip("|").split("|")]
    assert row[0] == work
    rows = [int(cell.replace(",", "")) for cell in row[1:4]]
    assert rows[0] == FORWARD_ROWS and all(FORWARD_ROWS <= own < FORWARD_ROWS + 8 for own in rows[1:])
