"""HTTP in and out: what each protocol's requests and answers look like."""
