"""Samples for training straight from recordings and LeRobotDatasets, with no conversion between.

source = open_samples([Path("recordings")], Asked(horizon=16))
for batch in load_batches(source, batch_size=64, workers=2, seed=0):
    batch["observation.images.front"], batch["action"], batch["weight"]
"""
