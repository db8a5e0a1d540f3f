"""Tar shards of labelled images: their index, how they are written, and how they are read as a stream."""
