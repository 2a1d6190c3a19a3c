"""One stream of audio as a pure state machine: frames in, effects out."""
