"""The DAV layer, method by method."""
