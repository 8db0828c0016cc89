# One image for every service: `oms run order`, `oms run inventory`, ..., `oms setup`. Any builder, no registry beyond
# the base image and the package index. See docs/containers.md.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /build
# The locked dependencies and the build tools have a layer of their own, which a change of the code leaves alone.
COPY requirements-runtime.txt requirements-build.txt ./
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --require-hashes --requirement requirements-runtime.txt \
 && python -m venv tools \
 && tools/bin/python -m pip install --no-cache-dir --no-deps --require-hashes --requirement requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
# pip compiles what it installs, so that a read-only root costs no start-up time. `check` fails if the lock is incomplete.
RUN tools/bin/python -m build --wheel --no-isolation --outdir dist . \
 && python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl \
 && python -m pip --python /opt/venv/bin/python check \
 && mkdir /data

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="oms" \
      org.opencontainers.image.description="Orders that settle exactly once: order, inventory, payment, notification" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMS_DATA=/data \
    OMS_HTTP_HOST=0.0.0.0
USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 8081 8082 8083 8084
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-m", "oms.entrypoints.healthcheck"]
ENTRYPOINT ["oms"]
CMD ["--help"]
# Files last, so that a change of the code reuses the layers above.
COPY --from=build /opt/venv /opt/venv
# A named volume that is mounted here takes over the owner.
COPY --from=build --chown=10001:10001 /data /data
