"""The whole server as real processes, met by real clients."""
