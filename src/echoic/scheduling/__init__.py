"""Fair scheduling of decodes over worker threads."""
