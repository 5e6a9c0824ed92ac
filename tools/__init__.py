"""What the agent can do: typed functions over the store and the model."""
