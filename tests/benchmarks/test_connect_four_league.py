"""`benchmarks/connect_four_league.py`: when the gate was reached, and what the table says of it."""

from __future__ import annotations


def result(win_rate: list[list[float]], names: list[str], verdicts: list[dict]) -> dict:
    low, high = ([[x + shift for x in row] for row in win_rate] for shift in (-0.02, 0.02))
    return {"players": [{"name": name} for name in names], "win_rate": win_rate, "win_rate_low": low,
            "win_rate_high": high, "verdicts": verdicts}  # fmt: skip


def test_report(tmp_path):
    import connect_four_report as report

    points = [(100, 10.0, 0.8), (200, 20.0, 0.95), (300, 30.0, 0.94)]
    curve = [
        {"env_steps": n, "wall_seconds": s, "win_rate": x, "low": x - 0.02, "high": x + 0.02} for n, s, x in points
    ]
    run = {"env_steps": 300, "wall_seconds": 60.0, "env_steps_per_second": 5.0}
    own = [[0.5, 0.4, 0.99], [0.6, 0.5, 0.98], [0.01, 0.02, 0.5]]
    worst = {"win_rate": 0.47, "low": 0.4, "high": 0.49}
    verdict = {"against": "own snapshot", "beaten_by": ["run@abcd"], "win_rates": [worst], "beats": [],
               "correction": "Bonferroni, 1 comparisons"}  # fmt: skip
    players = ["league", "latest", "mcts:50", "mcts:200"]
    mcts = [[0.5, 0.5, 0.2, 0.1], [0.5, 0.5, 0.3, 0.15], [0.8, 0.7, 0.5, 0.2], [0.9, 0.85, 0.8, 0.5]]
    found = {
        "runs": {"league": {**run, "curve": curve}, "latest": {**run, "curve": curve[:1]}},
        "own": result(own, ["league", "latest", "random"], [verdict]),
        "mcts": result(mcts, players, []),
    }
    text = report.table({"seeds": {"7": found}})
    assert "| 20 s, 200 env-steps | 0.990 [0.970, 1.010] | 0.200 [0.180, 0.220] | 0.100 [0.080, 0.120] | - |" in text
    assert "| never | 0.980" in text and "| 0.400 [0.380, 0.420] |" in text
    assert "run@abcd of 1" in text and "lowest win rate 0.470" in text
    report.draw({"seeds": {"7": found}}, tmp_path / "found.png")
    assert (tmp_path / "found.png").stat().st_size > 1000
