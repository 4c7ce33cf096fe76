"""Speed and accuracy of plait against floors and peers, one command: `python -m benchmarks`."""
