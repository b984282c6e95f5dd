"""The web application of a running site: its page, the REST API and the announcements of jobs, on one HTTP server."""
