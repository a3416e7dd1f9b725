"""Measures policies: closed loop in simulated time, on scenes that training never saw."""
