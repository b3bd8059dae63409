"""What the application and its server say to each other is the same with and without the middleware."""
