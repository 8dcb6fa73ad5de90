"""Benchmarks of storagekit and its peers, which a stranger can run: see README.md and scripts/bench."""
