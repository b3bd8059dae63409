"""The user's side of jobs: what is deferred, and how."""
