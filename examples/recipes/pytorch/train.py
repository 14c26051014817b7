"""Trains a small net to tell two spirals apart, on several nodes, and writes the model."""
import argparse
import math
import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--init", required=True)
parser.add_argument("--rank", type=int, required=True)
parser.add_argument("--world", type=int, required=True)
parser.add_argument("--epochs", type=int, default=300)
args = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(1)
dist.init_process_group("gloo", init_method=args.init, rank=args.rank, world_size=args.world)

angle = torch.rand(600) * 2 * math.pi + 0.5
side = torch.arange(600) % 2
at = angle + side * math.pi
points = torch.stack([angle * at.cos(), angle * at.sin()], 1) / 7
mine = slice(args.rank, None, args.world) if args.world % 2 else slice(args.rank * 600 // args.world, (args.rank + 1) * 600 // args.world)

net = DistributedDataParallel(torch.nn.Sequential(
    torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2)))
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
for epoch in range(args.epochs):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(net(points[mine]), side[mine])
    loss.backward()  # averages the gradients of all processes
    optimizer.step()

right = (net(points).argmax(1) == side).float().mean()
same = next(net.parameters()).detach().sum()
sums = [torch.zeros(()) for _ in range(args.world)]
dist.all_gather(sums, same)
assert all(torch.equal(s, sums[0]) for s in sums), "the processes' models differ"
if args.rank == 0:
    path = os.path.join(os.environ["AZ_BATCHAI_OUTPUT_MODEL"], "spirals.pt")
    torch.save(net.module.state_dict(), path)
    print(f"{args.world} processes, loss {loss.item():.3f}, {100 * right.item():.0f} % right, model in {path}")
    assert right > 0.9
dist.barrier()
