"""What measures: the machinery below the benchmarks, a room each; imported only by a benchmark's own process."""
