"""Where the compute load comes from, and the jobs that are announced."""
