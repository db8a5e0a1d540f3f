"""What touches files: images, weights and their cards, checkpoints read safely, checksums."""
