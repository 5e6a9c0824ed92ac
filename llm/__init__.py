"""How we speak to a multimodal model: engines, prompts, label scoring, embeddings."""
