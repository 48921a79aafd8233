"""The registry server's API: what the SDK and the command line can do, over HTTP.

Mounted at /api/v1. `envelope.remote.operations` says which requests there are.
"""

from controller.api.app import build_api

__all__ = ["build_api"]
