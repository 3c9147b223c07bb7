"""Llama-like models on the CPU: in plain torch at once, and in a faster form, in C where that can be had."""
