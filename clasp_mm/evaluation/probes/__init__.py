"""Probes on frozen features."""
