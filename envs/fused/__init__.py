"""Fused rollout backends: environment, policy, sampling and the time loop in one kernel. `envs.rollout` picks them."""

import numba

# numba's OpenMP layer sets the number of threads of every library that shares its runtime, torch's own among them, and
# undoes torch.set_num_threads. `workqueue` has threads of its own, but takes one launch at a time: kernels must not be
# launched from several Python threads at once. Here one thread launches them; NUMBA_THREADING_LAYER chooses otherwise.
if numba.config.THREADING_LAYER == "default":
    numba.config.THREADING_LAYER = "workqueue"
