"""Learning from demonstrations: rollouts, datasets, training. Needs the training extra (torch, mink)."""
