"""davstore: a folder, or a tree in MongoDB, as a network drive over WebDAV."""

__version__ = "0.1.0"
