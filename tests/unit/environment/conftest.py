from tests.unit.capture.conftest import project, site

__all__ = ["project", "site"]
