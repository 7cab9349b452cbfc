"""Backbones as ONNX and torch.export programs: written, and run."""
