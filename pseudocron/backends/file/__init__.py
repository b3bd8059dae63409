"""The embedded store on SQLite: in a folder for all processes of one machine, or in memory for one process."""
