"""What the language benchmarks share: workloads, clocks, and one runner a side."""
