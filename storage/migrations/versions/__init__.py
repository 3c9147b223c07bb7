"""One file for each revision; none is changed after its release."""
