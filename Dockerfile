# The operator's image: Python, the locked dependencies, this package, and the one helm it is tested with.
#
#   hack/image/build                                         with whichever of docker, podman, buildah is there
#   docker build -t managedchart-operator .                  the same by hand
#
# Nothing is written to the root file system at run time: the two writable places are the cache
# (MANAGEDCHART_CACHE_DIR, default /var/cache/managedchart) and /tmp, and both are mounts. No shell is needed.
#
# A lifecycle plug-in is a package installed beside the operator's, in an image made from this one; docs/lifecycles.md has
# the Dockerfile. `pip` there is the base image's: the operator's own Python has none.

# Go >= the line `go` of hack/devcluster/go.mod. Anything else in this image is left behind.
ARG BASE_BUILDER=docker.io/library/golang:1.26-bookworm
# Python >= 3.11 with venv and pip, and the CA certificates. Pin both by digest (name@sha256:…) where builds must be repeatable.
ARG BASE_RUNTIME=docker.io/library/python:3.13-slim-bookworm


FROM ${BASE_BUILDER} AS helm
# helm is pinned and checksummed in one place, the module file that the development cluster is built from too.
COPY hack/devcluster/go.mod hack/devcluster/go.sum /src/
WORKDIR /src
# Empty means Go's own default; a mirror is named on the command line and stays in this stage.
ARG GOPROXY
ARG GOSUMDB
# The secret, where it is given, is the builder's own CA bundle, for machines behind a proxy that ends TLS.
RUN --mount=type=cache,target=/go-cache \
    --mount=type=secret,id=ca-certificates,target=/etc/ssl/certs/ca-certificates.crt \
    export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOMODCACHE=/go-cache/mod GOCACHE=/go-cache/build \
    && version="$(go list -m -f '{{.Version}}' helm.sh/helm/v4)" \
    # Without the linker's help helm tells only "v4.3", and the operator checks the full version at start.
    && go build -trimpath -o /out/helm \
        -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=${version}" helm.sh/helm/v4/cmd/helm \
    && test "$(/out/helm version --template '{{.Version}}')" = "${version}"


# The packages are installed by the interpreter that will run them, so the two cannot differ in version or C library.
FROM ${BASE_RUNTIME} AS packages
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/runtime.lock requirements/dev.lock ./requirements/
# Two environments without pip of their own: one goes into the image, the other holds the build backend, which is also
# taken from the lock and by its hash. (pip cannot limit an isolated build to hashes.)
RUN --mount=type=secret,id=ca-certificates,target=/etc/ssl/certs/ca-certificates.crt \
    python3 -m venv --without-pip /opt/managedchart \
    && python3 -m venv --without-pip /opt/backend \
    && awk '/^[a-z]/ {keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/} keep' requirements/dev.lock >backend.lock \
    && python3 -m pip --python /opt/managedchart/bin/python install \
        --no-compile --only-binary :all: --require-hashes -r requirements/runtime.lock \
    && python3 -m pip --python /opt/backend/bin/python install --only-binary :all: --require-hashes -r backend.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator/ operator/
# The bytecode is written here because the running image cannot write it, and is never checked against the sources:
# they cannot change, and an image tool that sets other file times must not slow the start down.
RUN /opt/backend/bin/hatchling build -t wheel -d /wheel \
    && python3 -m pip --python /opt/managedchart/bin/python install \
        --no-compile --no-index --no-deps /wheel/*.whl \
    && /opt/managedchart/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/managedchart/lib


FROM ${BASE_RUNTIME}
COPY --from=helm /out/helm /usr/local/bin/helm
COPY --from=packages /opt/managedchart /opt/managedchart
# User 65532, or whatever number a cluster assigns, has no entry in /etc/passwd. HOME would be "/", which cannot be written;
# and kopf asks for the user's name, for which Python looks at USER before it fails (measured: KeyError at start).
# PYTHONSAFEPATH: neither the working directory nor the script's own is a place to import from.
ENV PATH=/opt/managedchart/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/cache/managedchart \
    USER=managedchart-operator \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
# A number, so that the kubelet can tell that it is not root without reading /etc/passwd of the image.
USER 65532:65532
WORKDIR /
EXPOSE 8080
ENTRYPOINT ["managedchart-operator"]
CMD ["run"]
# Last, so that a new commit does not copy everything again.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="managedchart-operator" \
      org.opencontainers.image.description="Runs Helm charts you did not write through a lifecycle of phases, and says in the resource why a deployment failed." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
