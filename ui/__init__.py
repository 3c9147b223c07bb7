"""The pages. The only package that imports gradio; reaches everything else through one `Studio`."""
