"""Datasets to and from other places: storage behind a URL, and hubs."""
