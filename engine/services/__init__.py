"""One service for each noun the pages work on: the only place where compute and storage meet."""
