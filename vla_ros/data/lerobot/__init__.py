"""LeRobotDataset v3: written from recordings, and read, with or without LeRobot.

The layout is that of LeRobot 0.4.4, `lerobot/datasets/lerobot_dataset.py` and `utils.py`.
"""
