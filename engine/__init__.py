"""Models, jobs and the services that join them to storage. Knows nothing of the page."""
