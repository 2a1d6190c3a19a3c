"""Trains the tiny Parakeet of the tests and converts the packaged diarization models."""
