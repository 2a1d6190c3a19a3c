"""The wire protocol: frames, their JSON codec and PCM audio."""
