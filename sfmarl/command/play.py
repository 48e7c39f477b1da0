"""`sfmarl play`: a person against a policy, a snapshot, a script or MCTS, in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sfmarl.command.arguments import parse
from sfmarl.errors import UsageError

if TYPE_CHECKING:
    from sfmarl.evaluation.person import PersonsGame

QUIT = ("q", "quit", "exit")


@dataclass
class PlayArguments:
    """Play a board or matrix game against a run's policy, one of its snapshots, a script or MCTS."""

    run: str
    """Run whose game is played, and who plays it: RUN, RUN@best, RUN@ADDRESS, ... as in sfmarl tournament."""
    against: str | None = None
    """Another opponent: a run or snapshot (@ADDRESS: of the run), random, module:callable, mcts:200 [default: RUN]."""
    seat: str = "random"
    """Seat that you take: 0 (moves first, where players take turns), 1, ... or random."""
    greedy: bool = False
    """The opponent takes its most probable actions; --no-greedy samples."""
    seed: int | None = None
    """Seed of the opponent and of random seats [default: another one each time]."""
    env: str | None = None
    """Play this environment instead of the run's."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of --env."""
    imports: tuple[str, ...] | None = None
    """Modules or .py files to import instead of those that the run's config.json names."""


def play(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse(PlayArguments, words, prog="sfmarl play")
    import numpy as np

    from sfmarl.evaluation.contestants import read_contestants
    from sfmarl.evaluation.person import PersonsGame, playable_game
    from sfmarl.evaluation.requests import SNAPSHOTS, read_requests

    against = arguments.against or arguments.run
    if against.startswith("@"):
        against = arguments.run.rpartition("@")[0] + against if "@" in arguments.run else arguments.run + against
    asked = dict.fromkeys((arguments.run, against))
    requests, config = read_requests(list(asked), arguments.env, arguments.env_kwargs, arguments.imports)
    opponent = requests[-1]
    if opponent.which == SNAPSHOTS:
        raise UsageError(f"{against} are many. Play against one: {opponent.run}@ADDRESS.")
    seed = int(np.random.SeedSequence().generate_state(1)[0] >> 1) if arguments.seed is None else arguments.seed
    env = playable_game(config, seed)
    try:
        seats = [team.name for team in env.spec.teams]
        numbers = [*map(str, range(len(seats))), "random"]
        if arguments.seat not in numbers:
            raise UsageError(f"there is no seat {arguments.seat!r}: say {', '.join(numbers[:-1])} or random.")
        (contestant,) = read_contestants([opponent], env.spec, warn=_warn)
        game = PersonsGame(env, contestant, seed, arguments.greedy)
        rng = np.random.default_rng(seed)
        _Evening(game, contestant.name).play(
            lambda: int(rng.integers(len(seats))) if arguments.seat == "random" else int(arguments.seat)
        )
    finally:
        env.close()
    return 0


class _Left(Exception):
    """The person has had enough."""


class _Evening:
    """Games until the person stops."""

    def __init__(self, game: PersonsGame, opponent: str) -> None:
        self._game, self._opponent = game, opponent
        self._score = {"won": 0, "drawn": 0, "lost": 0, "ended": 0}

    def play(self, choose_seat: Any) -> None:
        """Play until there is an end of it: q, no further game, or the end of the input."""
        print(f"{self._game.spec.env} against {self._opponent}. Type a move, ? for help, q to quit.")
        try:
            while True:
                self._one_game(choose_seat())
                if not self._again():
                    break
        except _Left:
            pass
        ended = self._score.pop("ended")
        if any(self._score.values()):
            print("You " + ", ".join(f"{what} {count}" for what, count in self._score.items()) + ".")
        elif ended:
            print(f"Games played: {ended}.")

    def _one_game(self, seat: int) -> None:
        from sfmarl.envs.vector_turns import Concealing

        game, env = self._game, self._game.env
        game.begin()
        order = "move first" if game.to_move == seat else "do not move first"
        if isinstance(env, Concealing):
            order = "choose when everybody does"
        print(f"\nYou are {game.spec.teams[seat].name}, {env.mark(seat)}, and {order}.\n\n{env.text(0)}")
        made: list[str] = []
        while not game.over:
            mover = game.to_move
            if mover == seat:
                action, who = self._ask(), "You play"
                game.move(action)
            else:
                action, who = game.reply(), f"{self._opponent} ({env.mark(mover)}) plays"
            made.append(f"{who} {env.move_name(action)}.")
            if not game.concealed:
                print(f"\n{' '.join(made)}\n\n{env.text(0)}")
                made.clear()
        end, said = self._result(seat)
        self._score[end] += 1
        print(f"\n{said}")

    def _result(self, seat: int) -> tuple[str, str]:
        """Return how the game ended for the person, and the words for it."""
        try:
            points = float(self._game.outcome[seat])
        except UsageError:  # a game that nobody wins or loses
            earned = self._game.returns.tolist()
            others = " and ".join(f"{value:g}" for number, value in enumerate(earned) if number != seat)
            return "ended", f"You earned {earned[seat]:g}, {self._opponent} {others}."
        if points == 0.5:
            return "drawn", "A draw."
        return ("won", "You win.") if points > 0.5 else ("lost", f"{self._opponent} wins.")

    def _ask(self) -> int:
        """Return a legal move of the person's."""
        game = self._game
        legal = game.legal()
        moves = ", ".join(map(game.env.move_name, legal))
        while True:
            word = _read(f"Your move ({moves}): ")
            if not word or word == "?":
                print(f"Moves: {moves}. q quits.")
                continue
            try:
                action = game.env.parse_move(word)
            except UsageError as error:
                print(error)
                continue
            if action in legal:
                return action
            print(f"{game.env.move_name(action)} is not possible now. Possible: {moves}.")

    @staticmethod
    def _again() -> bool:
        while True:
            word = _read("Another game? [Y/n] ").lower()
            if word in ("", "y", "yes", "n", "no"):
                return word not in ("n", "no")
            print("Type y or n.")


def _read(prompt: str) -> str:
    """Return a line of the person's. Raises _Left for q and at the end of the input."""
    try:
        word = input(prompt).strip()
        if not sys.stdin.isatty():  # nobody sees what a pipe types
            print(word)
    except EOFError:
        print()
        raise _Left from None
    except KeyboardInterrupt:
        print()
        raise
    if word.lower() in QUIT:
        raise _Left
    return word


def _warn(text: str) -> None:
    print(f"sfmarl: warning: {text}", file=sys.stderr)
