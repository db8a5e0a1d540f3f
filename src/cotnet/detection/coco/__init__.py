"""Sets in COCO's format: their files, annotations and masks, the images with their targets, and the data module."""
