"""The way of a request, and the lifespan."""
