"""The embedded control plane: real Kubernetes programs, run as plain processes on 127.0.0.1.

Only the standard library is used, so that `devcluster` runs before any environment exists. The parts, each importing
only what stands above it: ``errors``, ``folders``, ``toolchain`` (how the programs get here), ``processes``,
``stages`` (what kwok plays),
``components`` (what they are started with), ``kubeconfig``, ``api``, ``cluster`` (create, delete, restart), ``cli``.
"""
