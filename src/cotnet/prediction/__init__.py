"""Using a trained network: prediction and evaluation."""
