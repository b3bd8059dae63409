"""The store on a Redis server, for the processes of many hosts."""
