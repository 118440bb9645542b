"""Stores: files and folders. No HTTP, no WebDAV."""
