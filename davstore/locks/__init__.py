"""Write locks and where they are kept."""
