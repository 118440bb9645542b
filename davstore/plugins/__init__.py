"""What starts with a node and stops with it."""
