"""Stands in for a Horovod script: checks the ranks and sizes that hvd.init() would read, and averages a gradient."""
import os

from mpi4py import MPI

rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
size = int(os.environ["OMPI_COMM_WORLD_SIZE"])
local_rank = int(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"])
local_size = int(os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"])
world = MPI.COMM_WORLD
assert (rank, size) == (world.rank, world.size), (rank, size, world.rank, world.size)
assert 0 <= local_rank < local_size <= size

ranks = world.allgather(rank)
assert ranks == list(range(size)), ranks
average = world.allreduce(float(rank + 1)) / size
assert average == (size + 1) / 2, average
if rank == 0:
    print(f"{size} workers agree: the average gradient is {average}")
