"""Weights of a backbone: found, read, checked against the model, loaded."""
