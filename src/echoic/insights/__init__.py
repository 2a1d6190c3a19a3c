"""What a talk comes down to: found by rules, or by a language model, beside the stream."""
