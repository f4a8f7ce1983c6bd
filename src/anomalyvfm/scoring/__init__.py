"""Distances of features from what good images have shown."""
