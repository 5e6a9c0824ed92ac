"""srec-tiny fine-tuned on real photographs and on films, by the commands that a person types."""
