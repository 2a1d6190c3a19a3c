"""Interfaces between the session and models: engine, diarizer, voice activity detector."""
