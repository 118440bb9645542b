"""What a store promises, by subject: one test per promise, mixed into one class in contract.py."""
