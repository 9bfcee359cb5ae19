#!/usr/bin/env bash
# Builds the trainer's image for real, on a base of Debian with torch for CPUs instead of PyTorch's with CUDA, and trains in it.
#   deploy/try_training.sh [FOLDER]   as root; needs buildah, debootstrap, util-linux; FOLDER (default: a temporary one) keeps the base
# TORCH says where pip finds a torch for CPUs; KEEP=1 leaves the images. The image's process describes the family as the image's
# user, and trains an epoch on pictures made in there as a user that it does not know, which is how docker-compose.yml lets it
# write into a folder of yours; read-only root, no capability, no network.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-$(mktemp -d)}
tag=yolov7-training:try
torch=${TORCH:-"$(grep '^torch==' constraints.txt) --index-url https://download.pytorch.org/whl/cpu"}
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
ca=/etc/ssl/certs/ca-certificates.crt
deploy/try_base.sh "$work"
mounts=(--volume "$work/pip.conf:/etc/pip.conf:ro" --volume "$ca:$ca:ro")
[ -z "${PIP_FIND_LINKS:-}" ] || mounts+=(--volume "$PIP_FIND_LINKS:$PIP_FIND_LINKS:ro")
container=""
trap '[ -z "$container" ] || buildah rm "$container" >/dev/null; [ "${KEEP:-}" ] || buildah rmi -f localhost/torch:try "$tag" >/dev/null 2>&1 || true' EXIT

if ! buildah inspect --type image localhost/torch:try >/dev/null 2>&1; then
  container=$(buildah from localhost/debian:try)
  buildah run "${mounts[@]}" "$container" -- sh -ec "
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    python3 -m venv /opt/python && /opt/python/bin/pip install -q --no-cache-dir $torch
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*"
  buildah config --env PATH=/opt/python/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit -q --rm "$container" localhost/torch:try
  container=""
fi
buildah bud --format docker -q -f deploy/training.Dockerfile "${mounts[@]}" \
  --build-arg BASE=localhost/torch:try --build-arg GIT_COMMIT="$(git rev-parse HEAD)" -t "$tag" .

container=$(buildah from "$tag")
root=$(buildah mount "$container")
say() { buildah inspect --type image --format "$1" "$tag"; }
user=$(say '{{.Docker.Config.User}}')
echo "image: $(du -sm "$root" | cut -f1) MB, base $(buildah images --format '{{.Size}}' localhost/torch:try); user $user"
say '{{range .Docker.Config.Env}}{{println .}}{{end}}' | grep . > "$work/env"
ROOT=$root UID_GID=$user ENVIRONMENT=$work/env \
  unshare --mount --mount-proc --pid --net --ipc --uts --fork --kill-child deploy/try_training_process.sh
