"""How XLA compiles in tests; imported before jax."""

import importlib.metadata

# Nearly all time of a tiny run is XLA's. What depends on this is in `test_other_cpus`.
NO_OPTIMISATIONS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# A third to a half of the time; later versions do not know the flag.
_OLDER = importlib.metadata.version("jaxlib").startswith("0.10.")
FLAGS = NO_OPTIMISATIONS + (" --xla_cpu_use_fusion_emitters=false" if _OLDER else "")
EIGHT_DEVICES = "--xla_force_host_platform_device_count=8"
