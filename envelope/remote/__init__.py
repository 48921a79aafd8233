"""The registry and the store behind a registry server: what ENVELOPE_REGISTRY=https://... uses.

`operations` is the one description of what the server can do. From it come the server's routes, the
client's methods and the OpenAPI document; the types are those of `envelope.registry.Registry`.
"""
