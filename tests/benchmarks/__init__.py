"""Benchmarks against the peers: programs that print tables, no tests."""
