"""How often and how soon a component that died is replaced."""

from __future__ import annotations

WINDOW = 600.0
"""Seconds of life after which a death is forgiven: the budget is for components that die again and again."""
SHORT_LIFE = 10.0
"""Seconds: whoever lives longer is replaced at once."""
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before the second of several short lives in a row; the delay doubles with each further one."""


class Restarts:
    """The deaths of one component, by the time it has worked: what was being built, hung or waited did not live."""

    def __init__(self, budget: int) -> None:
        """At most `budget` replacements within WINDOW seconds of life."""
        self._budget = budget
        self._lived = 0.0
        self._deaths: list[float] = []
        self._short = 0

    @property
    def recent(self) -> int:
        """Deaths that count."""
        return len(self._deaths)

    def after(self, life: float) -> float | None:
        """Return in how many seconds the next one is to begin, or None when the budget is used up.

        `life` is how long the one that died had worked, in seconds.
        """
        self._lived += life
        self._deaths = [*(death for death in self._deaths if self._lived - death < WINDOW), self._lived]
        if len(self._deaths) > self._budget:
            return None
        self._short = self._short + 1 if life < SHORT_LIFE else 0
        # the first short life may be anybody's kill
        return 0.0 if self._short < 2 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (self._short - 2))
