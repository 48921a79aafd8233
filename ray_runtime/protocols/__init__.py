"""HTTP in and out: what each protocol's requests and answers look like.

A protocol is a module with `routes(live) -> list[Route]`. To add one, add it to `PROTOCOLS` in
`application.py`; nothing else knows which there are.
"""
