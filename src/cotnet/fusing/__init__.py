"""Networks for inference: BatchNorms folded, CoT layers and 3x3 convolutions replaced by faster modules."""
