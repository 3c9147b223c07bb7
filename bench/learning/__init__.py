"""Does it learn? A simulated rater with a hidden rule goes through the whole loop, over the API, seeing what a person sees."""
