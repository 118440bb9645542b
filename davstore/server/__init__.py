"""The HTTP server: processes, sockets, limits. Knows a WSGI callable, nothing of files."""
