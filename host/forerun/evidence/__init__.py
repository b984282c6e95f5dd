"""What makes a journal evidence: hash tree, signatures, timestamps."""
