# Targets: `evaluate` (everything, the default) and `verify` (no model libraries: validate, score, verify, compare …).
#   docker build --tag benchmark .
#   docker build --tag benchmark-verify --target verify .
# CUDA comes with the torch wheel, so the base is plain Python. How to run it: docs/container.md.
#
# Digest as the image's maintainers recorded it: docker-library/repo-info, repos/python/remote/3.11-slim-bookworm.md,
# commit 33a22f41ac7bf613bc03380b0317536a9a7fb5e8; Python 3.11.16, built 2026-08-25. Moving it: CONTRIBUTING.md.
FROM docker.io/library/python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b AS base

# --- the libraries, by the locks; what changes most often comes last --------------------------------------------------

FROM base AS libraries
# Given, pip writes byte code that names its source by hash and not by date: the same bytes whenever it is built.
ARG SOURCE_DATE_EPOCH=1763683200
ENV PYTHONHASHSEED=0 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /tools && python3 -m venv --without-pip /venv
COPY requirements/build.lock requirements/verify.lock /share/
RUN /tools/bin/pip install --require-hashes --no-deps --only-binary=:all: -r /share/build.lock \
 && /tools/bin/pip --python /venv/bin/python install --require-hashes --no-deps --only-binary=:all: -r /share/verify.lock

FROM libraries AS models
ARG SOURCE_DATE_EPOCH=1763683200
ARG VARIANT=cuda
COPY requirements/${VARIANT}.lock /share/
# For VARIANT=cpu put one torch wheel for the processor into requirements/wheels; its digest is kept in the image.
RUN --mount=type=bind,source=requirements,target=/context \
    /tools/bin/pip --python /venv/bin/python install --require-hashes --no-deps --only-binary=:all: -r "/share/$VARIANT.lock" \
 && if [ "$VARIANT" = cpu ]; then \
      /tools/bin/pip --python /venv/bin/python install --no-deps --no-index /context/wheels/torch-*.whl \
      && sha256sum /context/wheels/torch-*.whl > /share/torch-wheel.sha256; fi \
 && rm /share/verify.lock

# --- the package, and the bill of materials of each image -------------------------------------------------------------

FROM libraries AS wheel
COPY pyproject.toml README.md LICENSE benchmark.yaml /src/
COPY schemas /src/schemas
COPY runner /src/runner
RUN /tools/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheel /src

FROM libraries AS build-verify
ARG SOURCE_DATE_EPOCH=1763683200
COPY --from=wheel /wheel /wheel
RUN /tools/bin/pip --python /venv/bin/python install --no-deps --no-index /wheel/*.whl \
 && /tools/bin/cyclonedx-py environment --of JSON --output-reproducible -o /share/sbom.cdx.json /venv/bin/python

FROM models AS build-evaluate
ARG SOURCE_DATE_EPOCH=1763683200
COPY --from=wheel /wheel /wheel
RUN /tools/bin/pip --python /venv/bin/python install --no-deps --no-index /wheel/*.whl \
 && /tools/bin/cyclonedx-py environment --of JSON --output-reproducible -o /share/sbom.cdx.json /venv/bin/python

# --- what both are run as ---------------------------------------------------------------------------------------------

FROM base AS run
# Neither the runner nor a stranger's model needs an installer. The user is a number: adding one writes the date.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.11/site-packages/* /usr/lib/python3*/ensurepip \
      /usr/local/lib/python3*/ensurepip /usr/share/python-wheels \
 && install -d -o 65532 -g 65532 /results /cache && install -d /models /data /keys /work
COPY submissions /work/submissions
# hadolint ignore=DL3064
ENV PATH=/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    BENCHMARK_CONTAINER=1 \
    BENCHMARK_EVALUATE_OUTPUT_DIR=/results \
    BENCHMARK_SCORE_OUTPUT_DIR=/results \
    BENCHMARK_DOCTOR_OUTPUT_DIR=/results \
    BENCHMARK_DATA_DIR=/data \
    HF_HOME=/cache/hf \
    HF_HUB_OFFLINE=1 \
    TRANSFORMERS_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    PYTHONHASHSEED=0 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CUBLAS_WORKSPACE_CONFIG=:4096:8 \
    NVIDIA_TF32_OVERRIDE=0 \
    CUDA_DEVICE_ORDER=PCI_BUS_ID
WORKDIR /work
USER 65532:65532
ENTRYPOINT ["benchmark"]
CMD ["--help"]
ARG VERSION=0.1.0
ARG VCS_REF
ARG CREATED=2025-11-21T00:00:00Z
ENV BENCHMARK_SOURCE_REVISION=${VCS_REF}
LABEL org.opencontainers.image.title="benchmark" \
      org.opencontainers.image.description="How closely a language model's answer probabilities match the distribution of human moral judgment." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${VCS_REF}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm" \
      org.opencontainers.image.base.digest="sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b"

FROM run AS verify
COPY --from=build-verify /share /usr/share/benchmark
COPY --from=build-verify /venv /venv

FROM run AS evaluate
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility NVIDIA_REQUIRE_CUDA="cuda>=13.0"
COPY --from=build-evaluate /share /usr/share/benchmark
COPY --from=build-evaluate /venv /venv
