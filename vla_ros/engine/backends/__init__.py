"""Engines: one module for each library that runs graphs, all behind `Engine`."""
