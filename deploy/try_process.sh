#!/usr/bin/env bash
# The inside of try_image.sh, in namespaces of its own: $ROOT becomes read-only, its process starts as $UID_GID without capabilities.
set -euo pipefail
WRITABLE=/var/cache/yolov7
source deploy/try_root.sh

inside sh -c '! touch /root-is-writable 2>/dev/null && ! touch /models/x 2>/dev/null && id'
inside yolov7-service serve > /tmp/try.log 2>&1 &
served=$!
for _ in $(seq 120); do
  if inside $HEALTH 2>/dev/null; then ready=1; break; fi
  kill -0 $served || break
  sleep 0.5
done
[ "${ready:-}" ] || { tail -20 /tmp/try.log; exit 1; }
inside python3 - <<'P'
import io, json, urllib.request
import numpy as np
from PIL import Image
picture = io.BytesIO()
Image.fromarray(np.random.default_rng(1).integers(0, 255, (320, 480, 3), np.uint8)).save(picture, "JPEG")
request = urllib.request.Request("http://127.0.0.1:8000/v1/detect", picture.getvalue(), {"Content-Type": "image/jpeg"})
answer = json.load(urllib.request.urlopen(request, timeout=20))
print("detect:", answer["model"], answer["image"], len(answer["detections"]), "detections", answer["timings_ms"])
P
grep -E '^(VmRSS|CapEff|NoNewPrivs|Seccomp):' "/proc/$(pgrep -f 'yolov7-service serve' | tail -1)/status" || true
pkill -TERM -f 'yolov7-service serve'
code=0; wait $served || code=$?
echo "after SIGTERM: exit $code"
[ $code -eq 0 ]
