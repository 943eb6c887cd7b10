"""Formats that hold many images in one file, each read as a `FileSet` of small images."""
