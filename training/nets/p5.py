"""The tables of the models with three levels, P3 to P5: tiny, v7 and X.

Rows only; what else makes a variant stands in variants.py. Names: c are the backbone's maps and top the pooled one
that closes it, f the maps on the way down the pyramid, n those on the way up, lead what the head reads. A number is
the level: c2 has stride 4, f3 has stride 8.
"""

from training.nets.rows import Concat, Conv, Elan, Pool, PoolDown, RepConv, Row, SppCspc, TinySpp, TopDown

# ELANs of two convolutions, all kept; pooling alone halves the backbone.
TINY = (
    Row("stem1", Conv(32, stride=2)),
    Row("stem2", Conv(64, stride=2)),
    Row("c2", Elan(32, 64, depth=2)),
    Row("c3_down", Pool()),
    Row("c3", Elan(64, 128, depth=2)),
    Row("c4_down", Pool()),
    Row("c4", Elan(128, 256, depth=2)),
    Row("c5_down", Pool()),
    Row("c5", Elan(256, 512, depth=2)),
    Row("top", TinySpp(256)),
    Row("f4_join", TopDown(128), ("top", "c4")),
    Row("f4", Elan(64, 128, depth=2)),
    Row("f3_join", TopDown(64), ("f4", "c3")),
    Row("f3", Elan(32, 64, depth=2)),
    Row("n4_down", Conv(128, stride=2)),
    Row("n4_join", Concat(), ("n4_down", "f4")),
    Row("n4", Elan(64, 128, depth=2)),
    Row("n5_down", Conv(256, stride=2)),
    Row("n5_join", Concat(), ("n5_down", "top")),
    Row("n5", Elan(128, 256, depth=2)),
    Row("lead3", Conv(128), ("f3",)),
    Row("lead4", Conv(256), ("n4",)),
    Row("lead5", Conv(512), ("n5",)),
)

# Backbone: four convolutions, every second kept. Neck: four of half the width, all kept.
V7 = (
    Row("stem1", Conv(32)),
    Row("stem2", Conv(64, stride=2)),
    Row("stem3", Conv(64)),
    Row("stem4", Conv(128, stride=2)),
    Row("c2", Elan(64, 256, depth=4, step=2)),
    Row("c3_down", PoolDown(128)),
    Row("c3", Elan(128, 512, depth=4, step=2)),
    Row("c4_down", PoolDown(256)),
    Row("c4", Elan(256, 1024, depth=4, step=2)),
    Row("c5_down", PoolDown(512)),
    Row("c5", Elan(256, 1024, depth=4, step=2)),
    Row("top", SppCspc(512)),
    Row("f4_join", TopDown(256), ("top", "c4")),
    Row("f4", Elan(256, 256, depth=4, width=128)),
    Row("f3_join", TopDown(128), ("f4", "c3")),
    Row("f3", Elan(128, 128, depth=4, width=64)),
    Row("n4_down", PoolDown(128), ("f3", "f4")),
    Row("n4", Elan(256, 256, depth=4, width=128)),
    Row("n5_down", PoolDown(256), ("n4", "top")),
    Row("n5", Elan(512, 512, depth=4, width=256)),
    Row("lead3", RepConv(256), ("f3",)),
    Row("lead4", RepConv(512), ("n4",)),
    Row("lead5", RepConv(1024), ("n5",)),
)

# v7 scaled as a compound (section 3.2): blocks 1.5 times as deep, transitions 1.25 times as wide.
X = (
    Row("stem1", Conv(40)),
    Row("stem2", Conv(80, stride=2)),
    Row("stem3", Conv(80)),
    Row("stem4", Conv(160, stride=2)),
    Row("c2", Elan(64, 320, depth=6, step=2)),
    Row("c3_down", PoolDown(160)),
    Row("c3", Elan(128, 640, depth=6, step=2)),
    Row("c4_down", PoolDown(320)),
    Row("c4", Elan(256, 1280, depth=6, step=2)),
    Row("c5_down", PoolDown(640)),
    Row("c5", Elan(256, 1280, depth=6, step=2)),
    Row("top", SppCspc(640)),
    Row("f4_join", TopDown(320), ("top", "c4")),
    Row("f4", Elan(256, 320, depth=6, step=2)),
    Row("f3_join", TopDown(160), ("f4", "c3")),
    Row("f3", Elan(128, 160, depth=6, step=2)),
    Row("n4_down", PoolDown(160), ("f3", "f4")),
    Row("n4", Elan(256, 320, depth=6, step=2)),
    Row("n5_down", PoolDown(320), ("n4", "top")),
    Row("n5", Elan(512, 640, depth=6, step=2)),
    Row("lead3", Conv(320), ("f3",)),
    Row("lead4", Conv(640), ("n4",)),
    Row("lead5", Conv(1280), ("n5",)),
)
