"""Decoding strategies: plan windows for an engine and turn hypotheses into words."""
