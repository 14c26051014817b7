"""Stands in for a CNTK script: checks what lido gives it."""
import os

from mpi4py import MPI

world = MPI.COMM_WORLD
for name in ("AZ_BATCHAI_JOB_NAME", "AZ_BATCHAI_JOB_WORK_DIR", "AZ_BATCHAI_OUTPUT_MODEL", "AZ_BATCHAI_STDOUTERR_DIR"):
    assert os.environ.get(name), name
assert os.getcwd() == os.path.realpath(os.environ["AZ_BATCHAI_JOB_WORK_DIR"]), os.getcwd()
mine = world.bcast(os.urandom(8).hex() if world.rank == 0 else None)
path = os.path.join(os.environ["AZ_BATCHAI_OUTPUT_MODEL"], f"part-{world.rank}")
with open(path, "w") as f:
    f.write(mine)
world.barrier()
if world.rank == 0:
    parts = sorted(os.listdir(os.environ["AZ_BATCHAI_OUTPUT_MODEL"]))
    assert parts == [f"part-{r}" for r in range(world.size)], parts
    print(f"CNTK: {world.size} processes share their output directory")
