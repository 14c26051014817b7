"""Counts primes below a limit and writes them to the job's output directory RESULT."""
import argparse
import os
import pathlib

parser = argparse.ArgumentParser()
parser.add_argument("--below", type=int, required=True)
below = parser.parse_args().below

sieve = bytearray([1]) * below
sieve[0:2] = b"\0\0"
for n in range(2, int(below**0.5) + 1):
    if sieve[n]:
        sieve[n * n :: n] = bytes(len(range(n * n, below, n)))
primes = [n for n in range(below) if sieve[n]]

out = pathlib.Path(os.environ["AZ_BATCHAI_OUTPUT_RESULT"]) / "primes.txt"
out.write_text("\n".join(map(str, primes)) + "\n")
print(f"{len(primes)} primes below {below}, in {out}")
