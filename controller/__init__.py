"""What should run, and why."""
