"""Everything that knows rclpy or message types, apart from the nodes themselves."""
