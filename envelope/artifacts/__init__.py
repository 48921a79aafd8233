"""Codecs: Python objects to bytes and back, one module per family of models."""
