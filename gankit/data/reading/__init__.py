"""Data from files: folders and archives of images, arrays, tables and text encoders; and the cache of prepared data."""
