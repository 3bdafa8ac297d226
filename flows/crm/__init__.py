"""Connectors: how Nightshift speaks to each CRM."""
