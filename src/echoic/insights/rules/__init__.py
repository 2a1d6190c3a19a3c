"""Insights by rules: an extractive summary and keywords."""
