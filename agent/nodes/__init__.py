"""One file a node; file = function = node name = name in the trace."""
