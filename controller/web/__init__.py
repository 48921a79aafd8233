"""The registry's pages, rendered here; the browser needs nothing from elsewhere."""
