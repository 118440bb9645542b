"""The REST face: verbs and nouns over plain HTTP, on the same stores, locks and rights."""
