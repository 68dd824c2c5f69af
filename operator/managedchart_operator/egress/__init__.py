"""Where the operator may call on behalf of a ManagedChart: allowed sources, checked addresses, and a proxy that holds to both.

helm follows redirects, addresses in an index and login servers of a registry wherever they lead, and has no hook to check
them. So `helm pull` gets this proxy as its only way out (`proxy`), which resolves each name itself and connects only to an
address that it has checked. `sources` has the rules for what a spec names, `addresses` those for addresses. By the same
proxy and rules, `metrics` asks the servers that an administrator has named for metrics.
"""
