"""A Tidewire client written from PROTOCOL.md alone."""
