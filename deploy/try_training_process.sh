#!/usr/bin/env bash
# The inside of try_training.sh, in namespaces of its own.
set -euo pipefail
WRITABLE="/data /runs"
source deploy/try_root.sh

inside sh -c '! touch /root-is-writable 2>/dev/null && id'
inside yolov7-training describe
inside python3 - <<'P2'
import json
from pathlib import Path
import numpy as np
from PIL import Image
rng = np.random.default_rng(1)
Path("/data/images").mkdir()
for part, count in (("train", 8), ("val", 4)):
    images, annotations = [], []
    for number in range(count):
        name, (x, y) = f"{part}-{number}.png", rng.integers(8, 64, 2).tolist()
        picture = rng.integers(0, 90, (128, 128, 3), np.uint8)
        picture[y : y + 48, x : x + 48] = (230, 40, 40)
        Image.fromarray(picture).save(f"/data/images/{name}")
        images.append({"id": number, "file_name": name, "width": 128, "height": 128})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [x, y, 48, 48], "area": 2304, "iscrowd": 0})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    Path(f"/data/{part}.json").write_text(json.dumps(document))
P2
# As `user:` of docker-compose.yml makes it, for folders that belong to whoever starts it.
UID_GID=4242:4242
chown 4242:4242 "$ROOT/runs"
inside env -C /runs USER=trainer yolov7-training check /data --size 128
inside env -C /runs USER=trainer yolov7-training train --config tiny --data /data --run /runs/try --set epochs=1 --set image_size=128 \
  --set batch_size=4 --set workers=2
inside sh -c 'ls -l /runs/try && cat /runs/try/results.csv && test -s /runs/try/last.pt'
