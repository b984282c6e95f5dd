"""What battery and set are to do over the next hours: the plan."""
