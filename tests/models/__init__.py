"""Models with reference posteriors, of posteriordb: written from their mathematics, with their data and what Stan found in ``data/``."""
