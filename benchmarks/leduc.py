"""NashConv of a policy trained by launch/leduc_selfplay.py, computed by OpenSpiel over the whole game.

    python benchmarks/leduc.py runs/leduc

NashConv is the sum over both players of what a best response to the other earns above what the player earns now; a
Nash equilibrium has 0, the uniform policy 4.747. Exploitability is NashConv / 2 (in a zero-sum game of two players).
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from sfmarl.errors import UsageError
from sfmarl.evaluation.policy import build_actor
from sfmarl.results.exported_actor import ExportedActor
from sfmarl.storage.checkpoint import PolicyState, open_checkpoint

UNIFORM = 4.747
"""NashConv of the uniform policy (Lanctot et al. 2017, Leduc poker with OpenSpiel's payoffs)."""


def nash_conv(state: PolicyState) -> float:
    """Return the NashConv of a feed-forward policy that plays both seats, acting by its own probabilities.

    Raises UsageError when OpenSpiel is missing or the policy was not trained on its information states.
    """
    try:
        import pyspiel
        from open_spiel.python.algorithms.exploitability import nash_conv as of_policy
        from open_spiel.python.policy import TabularPolicy
    except ImportError as error:
        raise UsageError(f"NashConv is computed by OpenSpiel: pip install 'sfmarl[openspiel]' ({error})") from error
    game = pyspiel.load_game("leduc_poker")
    if state.spec.obs.shape != (game.information_state_tensor_size(),):
        raise UsageError(
            f"Policy {state.spec.name!r} observes {state.spec.obs.shape}, not the information states of leduc_poker: "
            "train it with launch/leduc_selfplay.py."
        )
    table = TabularPolicy(game)
    tensors = np.array([s.information_state_tensor(s.current_player()) for s in table.states], np.float32)
    table.action_probability_array[:] = probabilities(state, tensors, table.legal_actions_mask.astype(bool))
    return float(of_policy(game, table))


def version() -> str:
    """Return OpenSpiel's package and version."""
    return f"open_spiel {metadata.version('open_spiel')}"


@torch.inference_mode()
def probabilities(state: PolicyState, obs: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """Return the policy's action probabilities [B, n] for observations [B, *obs] and masks bool [B, n]."""
    mask = torch.from_numpy(legal)
    _, logits = ExportedActor(build_actor(state), state.spec)(torch.from_numpy(obs), None, mask)
    return logits.double().masked_fill(~mask, -torch.inf).softmax(-1).numpy()


def main() -> None:
    """Print the NashConv of the newest checkpoint of a run."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} RUN-DIR")
    opened = open_checkpoint(Path(sys.argv[1]), "latest")
    for name in opened.policy_names:
        value = nash_conv(opened.read_policy(name))
        print(f"{opened.path.name}, {name}: NashConv {value:.3f}, exploitability {value / 2:.3f} (uniform {UNIFORM})")


if __name__ == "__main__":
    main()
