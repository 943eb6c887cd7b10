"""One file an experiment, and nothing else."""
