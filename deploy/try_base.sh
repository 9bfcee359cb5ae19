#!/usr/bin/env bash
# Makes localhost/debian:try, from Debian's own packages, so that no registry of images is asked: for try_image.sh and try_training.sh.
#   deploy/try_base.sh FOLDER      keeps what was bootstrapped in FOLDER/base; pip's settings for a build in FOLDER/pip.conf
set -euo pipefail
work=$1
mkdir -p "$work"
if ! buildah inspect --type image localhost/debian:try >/dev/null 2>&1; then
  # debootstrap leaves a folder of that name where it was cut short: a half base is made anew.
  [ ! -d "$work/base/debootstrap" ] || rm -rf "$work/base"
  [ -f "$work/base/etc/debian_version" ] ||
    debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base" http://deb.debian.org/debian
  rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/* "$work"/base/usr/share/{doc,locale,man}/*
  base=$(buildah from scratch)
  buildah add -q "$base" "$work/base" /
  buildah commit -q --rm "$base" localhost/debian:try
fi
# A proxy's certificate counts in a build as it does outside.
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$work/pip.conf"
