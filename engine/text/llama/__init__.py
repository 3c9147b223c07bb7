"""Llama-like models in plain torch on the CPU, in float32 and in packed forms that write several times as fast."""
