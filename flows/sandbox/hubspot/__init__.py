"""The HubSpot dialect: objects, properties, search and associations, under the v3/v4 and the 2026-03 paths."""
