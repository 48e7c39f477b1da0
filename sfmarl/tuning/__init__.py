"""How a run is best spread over this machine: measured, predicted, chosen, explained."""
