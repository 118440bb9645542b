"""Users, and the one question: may(identity, action, path)."""
