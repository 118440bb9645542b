"""Whole trees between a local folder and any store: `davstore import` and `davstore export`."""
