"""The state machines, their nodes, the trace and the terminal."""
