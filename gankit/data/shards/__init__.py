"""Sets of images in shards, tars or parquet files here or on a server, that are read as a stream and never unpacked."""
