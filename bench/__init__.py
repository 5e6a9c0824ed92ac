"""Measured limits: each figure a ratio in one run, or a size, held to what was promised."""
