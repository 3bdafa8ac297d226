"""What measures speed and memory, side by side with a peer or a floor in the same run: ``python -m bench``."""
