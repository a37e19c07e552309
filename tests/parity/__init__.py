"""Our trainer beside recorded runs of the reference.

These were made on a processor without Intel's AMX and MKL's bfloat16, which sum half-precision products in
another order: without the two lines below every bf16 run drifts away from its first step on. They must be
set before torch is imported.
"""

import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
os.environ.setdefault("MKL_ENABLE_INSTRUCTIONS", "AVX512")
