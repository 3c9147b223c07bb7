"""Pictures: diffusion models and what they share. Knows torch and diffusers; knows no database and no page."""
