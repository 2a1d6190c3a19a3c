"""Audio processing: sample buffer, resampler, voice activity."""
