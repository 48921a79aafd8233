"""An envelope as a running thing. The only package that imports Ray."""
