"""What importing the package loads."""

import subprocess
import sys

CODE = """
import sys
import safetensors.torch, timm, torch
tops = lambda: {name.split(".")[0] for name in sys.modules}
before = tops()
import cotnet, cotnet.cli, cotnet.tasks
timm.create_model("cotnet_nano")
print(*sorted(tops() - before - {"cotnet"} - sys.stdlib_module_names))
"""


def test_importing_needs_torch_timm_and_safetensors_alone():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
