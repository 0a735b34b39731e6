"""Answers that evaluate a program's log density at given latent values, drawing nothing."""
