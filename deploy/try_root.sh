# Sourced by try_process.sh and try_training_process.sh, in namespaces of their own: $ROOT becomes a container's root that cannot be
# written but for /tmp, /dev/shm and the folders of $WRITABLE, which belong to the image's user. `inside COMMAND` runs there as
# $UID_GID, without capabilities, with the image's variables.
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs tmpfs "$ROOT/tmp"
for folder in $WRITABLE; do mount -t tmpfs -o mode=0755,uid="${UID_GID%:*}" tmpfs "$ROOT$folder"; done
mount -t tmpfs tmpfs "$ROOT/dev"
for device in null zero random urandom; do
  touch "$ROOT/dev/$device"
  mount --bind "/dev/$device" "$ROOT/dev/$device"
done
mkdir "$ROOT/dev/shm" && mount -t tmpfs tmpfs "$ROOT/dev/shm"
mount -o remount,bind,ro "$ROOT"
ip link set lo up

inside() {
  # shellcheck disable=SC2046 # one variable a word
  env -i $(cat "$ENVIRONMENT") HOME=/tmp chroot "$ROOT" setpriv --reuid "${UID_GID%:*}" --regid "${UID_GID#*:}" \
    --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
}
