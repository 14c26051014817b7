# MPI within a container: no reading of other processes' memory by ptrace rules, and small machines may oversubscribe.
cat >>/etc/openmpi/openmpi-mca-params.conf <<'M'
btl_vader_single_copy_mechanism = none
rmaps_base_oversubscribe = 1
hwloc_base_binding_policy = none
M

# Loading the modules once leaves nothing to be compiled at the first start.
python3 -m compileall -q -j 2 /usr/lib/python3/dist-packages >/dev/null || true
cd /tmp && python3 -c 'import torch.distributed as d, mpi4py; assert d.is_gloo_available()'
mpirun --version
