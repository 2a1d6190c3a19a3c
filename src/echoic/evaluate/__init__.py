"""Scores of recordings with references: what is said wrong, how late it comes, who is taken for whom."""
