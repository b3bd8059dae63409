"""An hour under load: whether anything grows in a server that runs crons and jobs behind its requests."""
