"""Real servers and processes, started and stopped for the tests, the benchmarks and the tools of verification."""
