"""The programs that defer and drain jobs for the benchmarks, each in a process of its own in a folder of its own."""
