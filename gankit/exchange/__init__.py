"""Weights from elsewhere, read without executing anything in their files; and ours for elsewhere."""
