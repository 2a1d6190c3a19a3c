"""Text of hypotheses: local agreement, overlap removal, replacements, vocabulary."""
