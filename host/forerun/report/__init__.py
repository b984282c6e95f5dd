"""From a journal to an issued report, and a figure of it opened again."""
