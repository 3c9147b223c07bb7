"""How good the starter image model is: `python -m bench.images`."""
