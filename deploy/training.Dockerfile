# The trainer on NVIDIA GPUs. From the root of the repository:
#   docker build -f deploy/training.Dockerfile --build-arg GIT_COMMIT=$(git rev-parse HEAD) -t yolov7-training .
# The base brings Python, torch, CUDA and cuDNN, and no compiler. `compile = true` needs one: take the -devel base then.
ARG BASE=pytorch/pytorch:2.8.0-cuda12.9-cudnn9-runtime
FROM ${BASE}

ARG GIT_COMMIT=unknown
LABEL org.opencontainers.image.title="yolov7-training" \
      org.opencontainers.image.description="Trains, scores and publishes YOLOv7 detectors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${GIT_COMMIT}"

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service ./service
COPY training ./training
# torch and what belongs to it stay the base's: they were built for its CUDA.
RUN grep -viE '^(torch|triton|nvidia[a-z0-9-]*|setuptools)==' constraints.txt > /tmp/constraints.txt \
    && pip install --no-cache-dir -c /tmp/constraints.txt ".[training]" \
    && rm -r /app/* /tmp/constraints.txt \
    && useradd --uid 10001 --create-home trainer \
    && install -d -o trainer -g trainer /data /runs

# The run folder records the commit; there is no repository to ask in here.
ENV GIT_COMMIT=${GIT_COMMIT} \
    MPLCONFIGDIR=/tmp \
    OMP_NUM_THREADS=1 \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /runs
VOLUME ["/data", "/runs"]
# Finished work ends the container: there is no server whose health could be asked.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT ["yolov7-training"]
CMD ["--help"]
