"""Sound as numbers: the bounded tape, the resampler, the speech gate."""
