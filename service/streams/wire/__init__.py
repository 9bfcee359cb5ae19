"""The protocol: detection.proto, and what `make proto` generates from it. Nothing here is written by hand but those."""
