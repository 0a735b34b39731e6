"""Ways to answer the messages of a program, inference algorithms (each a program itself), their results, and the command line.

This package stands on ``poutine``, and never the reverse. One algorithm a file; see ``importance`` for the first.
"""
