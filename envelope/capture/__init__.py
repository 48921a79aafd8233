"""What is captured without being asked: environment, modules, context, statistics."""
