"""Wire protocol: frames, their JSON codec, PCM audio, constants."""
