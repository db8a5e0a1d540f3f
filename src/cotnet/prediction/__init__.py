"""Using a trained network on images: found, decoded, put through the network, shared among processes."""
