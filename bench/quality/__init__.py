"""Baselines of other libraries on our splits, in an environment of their own."""
