"""Models as files and as loaded things: the catalogue, the store, fetching and the host. Knows no database and no page."""
