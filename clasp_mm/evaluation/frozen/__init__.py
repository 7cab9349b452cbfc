"""Frozen backbones scored on drawn people."""
