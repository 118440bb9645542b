"""WebDAV over any store: wsgidav, subclassed."""
