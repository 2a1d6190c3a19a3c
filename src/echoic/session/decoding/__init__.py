"""Decoding strategies: windows to decode and words to emit."""
