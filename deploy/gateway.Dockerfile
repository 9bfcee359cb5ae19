# The gateway. From the root of the repository:
#   docker build -f deploy/gateway.Dockerfile --build-arg GIT_COMMIT=$(git rev-parse HEAD) -t yolov7-service .
# With the embedded engine, as here, it needs nothing beside it. Beside a Triton server the engine can be left out, which
# saves a third of the image: --build-arg EXTRAS=gateway,triton,tracing
ARG BASE=docker.io/library/debian:12.12-slim
ARG EXTRAS=service,triton,tracing

FROM ${BASE} AS build
ARG EXTRAS
# What the base's own packages are fixed at is fixed by its tag; security updates of Debian's are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3-venv \
    && python3 -m venv /opt/yolov7
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
# The dependencies by themselves, so that a change of the code does not fetch them again.
RUN mkdir service training \
    && touch service/__init__.py training/__init__.py \
    && /opt/yolov7/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"
COPY service ./service
# Tests of libraries, and what installs packages, are not needed where it runs; nor is the trainer, whose package is empty here.
RUN /opt/yolov7/bin/pip install --no-cache-dir --no-deps --force-reinstall . \
    && /opt/yolov7/bin/pip uninstall --yes setuptools pip \
    && rm -rf /opt/yolov7/bin/yolov7-training /opt/yolov7/lib/python3*/site-packages/training \
    && find /opt/yolov7 -type d -name tests -prune -exec rm -rf {} +

FROM ${BASE}
ARG GIT_COMMIT=unknown
LABEL org.opencontainers.image.title="yolov7-service" \
      org.opencontainers.image.description="Object detection as a networked service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${GIT_COMMIT}"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin yolov7 \
    && install -d -o yolov7 -g yolov7 /var/cache/yolov7
COPY --from=build /opt/yolov7 /opt/yolov7
COPY model_repository /models

ENV PATH=/opt/yolov7/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    YOLOV7_HOST=0.0.0.0 \
    YOLOV7_LOG_FORMAT=json \
    YOLOV7_MODEL_REPOSITORY=/models \
    YOLOV7_OPENVINO_CACHE_DIR=/var/cache/yolov7
USER 10001:10001
WORKDIR /tmp
# Compiled models, for the next start. Everything else can be read-only, with a tmpfs at /tmp.
VOLUME ["/var/cache/yolov7"]
EXPOSE 8000 50051
# Ready means: each model found the known boxes in its known image, lately.
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 CMD ["yolov7-service", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["yolov7-service"]
CMD ["serve"]
