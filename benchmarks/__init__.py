"""Benchmarks: fastattr beside its peers, all measured by one protocol (see README.md)."""
