"""Fakes that check what they are given, and conformance suites; they ship with the package."""
