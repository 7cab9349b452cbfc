"""Trainings one after the other: the quickstart, fine-tuning after it, ablations."""
