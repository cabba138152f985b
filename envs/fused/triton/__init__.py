"""The GPU backend: rollouts in one Triton kernel. Triton is imported once it is known to be there and wanted."""

from importlib.util import find_spec

from envs.core import Env
from envs.policies import Network


def obstacle(env: Env, policy: Network) -> str | None:
    """Why the kernel cannot run this pair here; None where it can."""
    if find_spec("triton") is None:
        return "needs Triton, which is not installed: pip install 'zopg[triton]'"
    from envs.fused.triton import launch

    if env.device.type != "cuda" and not launch.interpreted():
        return f"needs a CUDA device, or TRITON_INTERPRET=1 for tests; the environment is on {env.device.type}"
    return launch.gap(env, policy)
