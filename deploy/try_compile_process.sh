#!/usr/bin/env bash
# The inside of try_compile.sh, in namespaces of its own.
set -euo pipefail
WRITABLE=/plans
source deploy/try_root.sh

inside sh -c '! touch /root-is-writable 2>/dev/null && ! touch /models/x 2>/dev/null && id'
# shellcheck disable=SC2086 # words of a command
inside $ENTRY /models/vehicles/1/model.onnx --batches 1 16
inside sh -c 'cd /plans && find . -type f | sort && grep -A1 profile vehicles/config.pbtxt && test "$(cat vehicles/1/model.f32.plan)" = plan'
# shellcheck disable=SC2086
if inside $ENTRY /models/vehicles/1/spec.json; then exit 1; fi
