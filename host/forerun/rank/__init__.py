"""Site-energy solutions compared by what they show of themselves."""
