"""Words: hypotheses, seams, the transcript."""
