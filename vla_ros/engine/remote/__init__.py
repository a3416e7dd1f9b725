"""What a robot and a server of graphs say to each other, and the robot's end of the line."""
