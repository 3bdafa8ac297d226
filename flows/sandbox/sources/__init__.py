"""Staging sources: daily invoice files, and a web shop that knows the customers who occur in them."""
