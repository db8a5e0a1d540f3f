"""Networks of bytes for inference on CPUs: post-training quantization of activations to uint8 and weights to int8."""
