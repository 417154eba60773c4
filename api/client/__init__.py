"""Client and worker for the REST API; standard library, msgspec and aiohttp only."""
