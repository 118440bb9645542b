"""Real components for the tests: finding them, starting them, talking to them."""
