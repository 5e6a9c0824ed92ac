"""Making and measuring the model: SFT data, training, export, evaluation."""
