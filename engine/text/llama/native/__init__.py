"""Llama-like models in C: a whole pass over packed weights in one call, compiled on the machine that runs it."""
