"""WsgiDAV providers, one per kind of store."""
