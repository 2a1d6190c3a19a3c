"""Measurements: what echoic does with real speech, under load, and when it is ill-treated."""
