"""Works out pi by numerical integration: each process takes every n-th slice, the first one adds up."""
from mpi4py import MPI

world = MPI.COMM_WORLD
slices = 2_000_000
width = 1.0 / slices
part = sum(4.0 / (1.0 + ((i + 0.5) * width) ** 2) for i in range(world.rank, slices, world.size)) * width
pi = world.reduce(part, op=MPI.SUM, root=0)
nodes = world.gather(MPI.Get_processor_name(), root=0)
if world.rank == 0:
    print(f"pi is {pi:.9f}, by {world.size} processes on {len(set(nodes))} nodes")
    assert abs(pi - 3.141592653) < 1e-6
