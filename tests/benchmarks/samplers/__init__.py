"""Nine posteriors, each in the language of each sampler, and the race between them. See ``tests.benchmarks.nuts``."""
