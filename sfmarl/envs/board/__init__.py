"""Board games of two seats, E at once: equal observations, rewards and endings as PettingZoo's from equal moves."""
