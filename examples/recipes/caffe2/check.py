"""Stands in for a Caffe2 script: its processes meet by files in a shared directory."""
import argparse
import os
import time

parser = argparse.ArgumentParser()
parser.add_argument("--run_id", required=True)
parser.add_argument("--num_shards", type=int, required=True)
parser.add_argument("--shard_id", type=int, required=True)
parser.add_argument("--file_store_path", required=True)
args = parser.parse_args()
assert 0 <= args.shard_id < args.num_shards
with open(os.path.join(args.file_store_path, f"shard-{args.shard_id}"), "w") as f:
    f.write(os.uname().nodename)
everyone = [os.path.join(args.file_store_path, f"shard-{n}") for n in range(args.num_shards)]
for _ in range(600):
    if all(os.path.exists(p) and os.path.getsize(p) for p in everyone):
        break
    time.sleep(0.1)
nodes = {open(p).read() for p in everyone}
print(f"shard {args.shard_id}: {args.num_shards} shards met, on {len(nodes)} nodes")
