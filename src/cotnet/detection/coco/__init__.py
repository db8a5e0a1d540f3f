"""Sets in COCO's format: the files, their format, the images with their targets, and the data module."""
