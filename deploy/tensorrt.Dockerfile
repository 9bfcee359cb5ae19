# Builds TensorRT plans, on the GPU that will serve them. `docker compose run --rm compile` builds and runs it; by itself,
# from the root of the repository:
#   docker build -f deploy/tensorrt.Dockerfile --build-arg GIT_COMMIT=$(git rev-parse HEAD) -t yolov7-tensorrt .
# A plan runs only in the TensorRT that built it, so the base is of the same month as the tritonserver that serves it:
# 24.12 has TensorRT 10.7 and Python 3.12, in both.
ARG BASE=nvcr.io/nvidia/tensorrt:24.12-py3
FROM ${BASE}

ARG GIT_COMMIT=unknown
LABEL org.opencontainers.image.title="yolov7-tensorrt" \
      org.opencontainers.image.description="Builds TensorRT plans of YOLOv7 detectors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${GIT_COMMIT}"

# Beside the base's own packages, of which TensorRT is one, and without touching them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --system-site-packages /opt/yolov7
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service ./service
COPY training ./training
# torch is imported and computes nothing here: a build for the CPU saves gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/yolov7/bin/pip install --no-cache-dir --index-url "${TORCH_INDEX}" "$(grep '^torch==' constraints.txt)" \
    && /opt/yolov7/bin/pip install --no-cache-dir --constraint constraints.txt ".[training]" \
    && rm -r /app/* \
    && useradd --uid 10001 --create-home compiler \
    && install -d -o compiler -g compiler /plans

ENV PATH=/opt/yolov7/bin:$PATH \
    MPLCONFIGDIR=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /plans
VOLUME ["/plans"]
# Finished work ends the container: there is no server whose health could be asked.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT ["yolov7-training", "compile", "--repository", "/plans"]
CMD ["--help"]
