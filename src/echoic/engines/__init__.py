"""Recognisers behind one Protocol, and the voice-activity model."""
