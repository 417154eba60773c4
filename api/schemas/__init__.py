"""Request bodies: what they may hold, how they are read, and how OpenAPI describes them."""
