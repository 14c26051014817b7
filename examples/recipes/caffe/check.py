"""Stands in for a Caffe script: checks what lido gives it."""
import argparse
import os

parser = argparse.ArgumentParser()
parser.add_argument("--out", required=True)
out = parser.parse_args().out
assert out == os.environ["AZ_BATCHAI_OUTPUT_MODEL"], out
assert os.path.isdir(out), out
with open(os.path.join(out, "model"), "w") as f:
    f.write("trained\n")
print("Caffe: one process, its model in", out)
