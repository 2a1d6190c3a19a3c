"""Transcripts as paragraphs, cues and files."""
