# Quintet as an OCI image; the same recipe as apptainer.def.  docs/containers.md says how to build and use it.
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

# full, or light: without torch and language models.
ARG VARIANT=full
# Another torch than the locked one, e.g. torch==2.13.0+cpu with EXTRA_PIP_ARGS="--index-url ...".
ARG TORCH_SPEC=
ARG EXTRA_PIP_ARGS=
# What kernels are compiled for: generic, x86-64, x86-64-v2, x86-64-v3, x86-64-v4; empty: x86-64-v3 on x86-64.
ARG KERNEL_CPU=

# A layer of its own, made again only when the list of packages changes.
COPY bin/container-install /opt/quintet/bin/container-install
COPY requirements.txt requirements.lock /opt/quintet/
RUN VARIANT="${VARIANT}" TORCH_SPEC="${TORCH_SPEC}" EXTRA_PIP_ARGS="${EXTRA_PIP_ARGS}" \
    sh /opt/quintet/bin/container-install packages

ARG VERSION=unknown
ARG COMMIT=unknown
COPY . /opt/quintet/
RUN VARIANT="${VARIANT}" KERNEL_CPU="${KERNEL_CPU}" COMMIT="${COMMIT}" sh /opt/quintet/bin/container-install suite \
    && echo 'quintet:x:1000:1000::/nonexistent:/bin/sh' >>/etc/passwd && echo 'quintet:x:1000:' >>/etc/group \
    && mkdir -p /work && chmod 1777 /work

LABEL org.opencontainers.image.title="quintet" \
      org.opencontainers.image.description="Five simulation studies as Slurm job arrays, containers or laptop processes" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.licenses="MIT"

ENV PATH=/opt/quintet/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
USER quintet
WORKDIR /work
ENTRYPOINT ["/opt/quintet/bin/.entry"]
CMD ["--help"]
