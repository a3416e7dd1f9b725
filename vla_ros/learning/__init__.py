"""Learning from demonstrations: rollouts, datasets, training. Needs torch and mink."""
