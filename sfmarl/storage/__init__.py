"""What a run leaves on disk: settings and checkpoints, atomic, hashed, never unpickled."""
