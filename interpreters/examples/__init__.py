"""Models with their data, for ``poutine infer``."""
