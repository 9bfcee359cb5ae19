"""Streams of frames, whatever carries them: what is delivered, whose turn it is, and the order of the answers."""
