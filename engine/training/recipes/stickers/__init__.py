"""How the starter image model is trained from nothing: `python -m engine.training.recipes.stickers`. See docs/image-model.md."""
