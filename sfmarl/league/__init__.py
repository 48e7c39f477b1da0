"""A self-play league's control plane: who is in it, who beat whom, who plays whom next. No processes, no torch."""
