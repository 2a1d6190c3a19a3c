"""Optimizes Parakeet's ONNX export for the processor at hand."""
