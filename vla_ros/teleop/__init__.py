"""From an operator's device to chunks for the gate."""
