"""Insights: summary, topics, action items and decisions, by rules or a language model."""
