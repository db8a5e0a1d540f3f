"""The operators, one folder each: contract, reference, and the fast implementations that are tested against it.

| file of a folder | holds |
|---|---|
| ``api.py`` | the public function, and the choice between the implementations |
| ``contract.py`` | schemas of the named ops, checks of their arguments, gradients |
| ``reference.py`` | plain PyTorch: the definition, for any device, and what exported programs hold |
| ``native.py`` | C++ kernels for the CPU |
| ``triton.py``, ``triton_kernels.py`` | Triton kernels for GPUs |

``library.py`` has what the named ops have in common, ``dispatch.py`` the rules by which every folder chooses,
``plain.py`` the question whether a fast path may read a tensor or a module directly. Two folders have no contract:
``local_similarity`` is a derivative of local aggregation and uses its named ops;
``batch_norm_act`` is a step of autograd without a named op, because it moves running statistics in place, which an op
without side effects may not, and because a compiler fuses PyTorch's operators better than it could fuse around an
opaque one.
"""
