"""A tree kept in MongoDB."""
