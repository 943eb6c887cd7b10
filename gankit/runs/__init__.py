"""The run folder: files, config, state, lock, and the trained model in it."""
