"""mpe2's particle worlds, E at once: equal observations, rewards and endings from equal seeds."""

SCENARIOS = {
    "simple_spread_v3": "spread:SimpleSpread",
}
"""mpe2's module -> its counterpart in this package."""
