"""Parakeet: one streaming engine over ONNX, NeMo or MLX networks."""
