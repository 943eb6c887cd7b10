"""The metrics, one file a family. Each file defines `METRICS`, and in `NEEDS` the conditions that only it uses."""
