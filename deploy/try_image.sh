#!/usr/bin/env bash
# Builds the gateway's image for real and runs its process as a container would, on a Debian without a container engine.
#   deploy/try_image.sh [FOLDER]      as root; needs buildah, debootstrap, util-linux; FOLDER (default: a temporary one) keeps the base
# The base is bootstrapped from Debian's own packages, so no registry of images is asked. The process gets the image's
# user, no capability, a read-only root, a /tmp in memory and a network of its own, is asked by its own HEALTHCHECK, detects, and is
# told to stop.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-$(mktemp -d)}
tag=yolov7-service:try
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
ca=/etc/ssl/certs/ca-certificates.crt

deploy/try_base.sh "$work"
buildah bud --format docker -q -f deploy/gateway.Dockerfile \
  --volume "$work/pip.conf:/etc/pip.conf:ro" --volume "$ca:$ca:ro" \
  --build-arg BASE=localhost/debian:try --build-arg EXTRAS="${EXTRAS:-service,triton,tracing}" \
  --build-arg GIT_COMMIT="$(git rev-parse HEAD)" -t "$tag" .

container=$(buildah from "$tag")
trap 'buildah rm "$container" > /dev/null' EXIT
root=$(buildah mount "$container")
say() { buildah inspect --type image --format "$1" "$tag"; }
user=$(say '{{.Docker.Config.User}}')
health=$(say '{{range .Docker.Config.Healthcheck.Test}}{{.}} {{end}}')
echo "image: $(du -sm "$root" | cut -f1) MB, of which base $(buildah images --format '{{.Size}}' localhost/debian:try); compressed" \
  "$(tar -C "$root" -c . | gzip -1 | wc -c | awk '{print int($1 / 1e6)}') MB; user $user; health: $health"
say '{{range .Docker.Config.Env}}{{println .}}{{end}}' | grep . > "$work/env"

ROOT=$root UID_GID=$user HEALTH=${health#CMD } ENVIRONMENT=$work/env \
  unshare --mount --mount-proc --pid --net --ipc --uts --fork --kill-child deploy/try_process.sh
