"""Whole experiments: the quickstart, ablations, downstream training of the six tasks."""
