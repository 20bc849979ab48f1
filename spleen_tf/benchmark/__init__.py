"""What the project's speed and memory are measured with, by tools/benchmark.py."""
