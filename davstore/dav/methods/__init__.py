"""One file per method, or pair of methods; each is a function from a request to a response."""
