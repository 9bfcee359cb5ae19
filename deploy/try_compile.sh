#!/usr/bin/env bash
# Builds the image of TensorRT's plans for real, on a base of Debian with a stand-in for TensorRT instead of NVIDIA's, and compiles in it.
#   deploy/try_compile.sh [FOLDER]   as root; needs buildah, debootstrap, util-linux; FOLDER (default: a temporary one) keeps the base
# TORCH_INDEX says where pip finds a torch for CPUs; KEEP=1 leaves the images. The stand-in builds nothing: what is tried is all around
# the build, as docker-compose.yml has it: the image's user, a read-only root, no capability, no network, models that cannot be written.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-$(mktemp -d)}
mkdir -p "$work"
tag=yolov7-tensorrt:try
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
ca=/etc/ssl/certs/ca-certificates.crt
deploy/try_base.sh "$work"
mounts=(--volume "$work/pip.conf:/etc/pip.conf:ro" --volume "$ca:$ca:ro")
if [ "${PIP_FIND_LINKS:-}" ]; then
  echo "find-links = $PIP_FIND_LINKS" >> "$work/pip.conf"
  mounts+=(--volume "$PIP_FIND_LINKS:$PIP_FIND_LINKS:ro")
fi
container=""
trap '[ -z "$container" ] || buildah rm "$container" >/dev/null; [ "${KEEP:-}" ] || buildah rmi -f localhost/tensorrt:try "$tag" >/dev/null 2>&1 || true' EXIT

if ! buildah inspect --type image localhost/tensorrt:try >/dev/null 2>&1; then
  container=$(buildah from localhost/debian:try)
  buildah run "$container" -- sh -ec "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 >/dev/null"
  buildah copy -q "$container" tests/training/export/tensorrt/stand_in/tensorrt.py /usr/lib/python3/dist-packages/
  printf '#!/bin/sh\necho "none, 0.0, 0.0"\n' > "$work/nvidia-smi"
  buildah copy -q --chmod 755 "$container" "$work/nvidia-smi" /usr/bin/
  buildah commit -q --rm "$container" localhost/tensorrt:try
  container=""
fi
buildah bud --format docker -q -f deploy/tensorrt.Dockerfile "${mounts[@]}" --build-arg BASE=localhost/tensorrt:try \
  ${TORCH_INDEX:+--build-arg TORCH_INDEX="$TORCH_INDEX"} --build-arg GIT_COMMIT="$(git rev-parse HEAD)" -t "$tag" .

container=$(buildah from "$tag")
root=$(buildah mount "$container")
say() { buildah inspect --type image --format "$1" "$tag"; }
user=$(say '{{.Docker.Config.User}}')
entry=$(say '{{range .Docker.Config.Entrypoint}}{{.}} {{end}}')
echo "image: $(du -sm "$root" | cut -f1) MB; user $user; entry: $entry"
say '{{range .Docker.Config.Env}}{{println .}}{{end}}' | grep . > "$work/env"
mkdir -p "$root/models" && cp -r model_repository/vehicles "$root/models/"
ROOT=$root UID_GID=$user:$user ENTRY=$entry ENVIRONMENT=$work/env \
  unshare --mount --mount-proc --pid --net --ipc --uts --fork --kill-child deploy/try_compile_process.sh
