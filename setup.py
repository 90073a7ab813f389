"""Builds the one extension, `hpcflow.native._kernels`, from csrc/ and its Cython face. All other metadata is in pyproject.toml.

    python setup.py build_ext --inplace                               # in the working tree
    HPCFLOW_SANITIZE=address,undefined python setup.py build_ext ...  # instrumented; run it with libasan preloaded (tests/native/run_sanitized.sh)
    HPCFLOW_DEBUG=1 ...                                               # -O0 with assertions

Invariant: one build runs on every CPU of its architecture. No -march flags: what is faster on newer CPUs is chosen at run time (csrc/hf_cpu.h).
"""

import os
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
SANITIZE = os.environ.get("HPCFLOW_SANITIZE", "")


def compile_flags() -> list[str]:
    flags = ["-std=c++17", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror=return-type", "-fno-math-errno"]
    flags += ["-O0", "-g"] if os.environ.get("HPCFLOW_DEBUG") else ["-O3", "-g1"]
    if SANITIZE:
        flags += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g", "-fno-sanitize-recover=undefined", "-U_FORTIFY_SOURCE"]
    return flags


def extension() -> Extension:
    sources = ["hpcflow/native/_kernels.pyx", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/*.cpp"))]
    headers = sorted(str(path.relative_to(ROOT)) for pattern in ("csrc/*.h", "csrc/*.inl") for path in ROOT.glob(pattern))
    return Extension(
        "hpcflow.native._kernels",
        sources=sources,
        depends=headers,
        include_dirs=["csrc"],
        language="c++",
        extra_compile_args=compile_flags(),
        extra_link_args=[f"-fsanitize={SANITIZE}"] if SANITIZE else [],
    )


def extensions() -> list[Extension]:
    from Cython.Build import cythonize

    build_dir = "build/cython-sanitized" if SANITIZE else "build/cython"
    return cythonize([extension()], build_dir=build_dir, compiler_directives={"language_level": "3"})


setup(ext_modules=extensions())
