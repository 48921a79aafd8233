"""The record of all that changes: tags, metrics, rules, releases."""
