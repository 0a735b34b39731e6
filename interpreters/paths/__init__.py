"""Paths through the finite choices of a program: which wait, which comes next, and how a run follows one."""
