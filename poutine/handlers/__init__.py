"""One poutine a file; none imports another."""
