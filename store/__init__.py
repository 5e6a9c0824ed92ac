"""What is kept: catalogue, interactions, item representations, cached steps, traces."""
