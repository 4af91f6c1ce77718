"""Asyncio client for Tidewire."""
