"""JAX as the suites use it: on one core as far as it can be told, and with what it compiled kept between processes."""

import os
import tempfile
from pathlib import Path
from typing import Any

FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def jax_on_one_core() -> Any:
    """The module; call it before anything else touches JAX."""
    os.environ["XLA_FLAGS"] = FLAGS
    import jax

    jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / "zopg-bench-jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return jax
