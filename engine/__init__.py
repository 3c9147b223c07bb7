"""Models, jobs and the services that join them to storage. Knows nothing of the page."""

__version__ = "0.1.0"
