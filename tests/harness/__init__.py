"""What the tests on a real API server share: the cluster, the operator as a process, waiting on conditions."""
