"""Nightshift: updates a CRM while people sleep."""
