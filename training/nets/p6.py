"""The tables of the models with four levels, P3 to P6: W6, E6, D6 and E6E.

Rows only, named as in p5.py. E6 and D6 are W6 scaled as a compound (section 3.2); E6E is E6 with extended ELANs
(figure 2d). Auxiliary rows exist in the training form only: their head sees the pyramid before its way up.
"""

from training.nets.rows import Concat, Conv, DownC, Elan, Row, SpaceToDepth, SppCspc, Sum, TopDown

# Backbone: four convolutions, every second kept. Neck: four of half the width, all kept.
W6 = (
    Row("patches", SpaceToDepth()),
    Row("stem", Conv(64)),
    Row("c2_down", Conv(128, stride=2)),
    Row("c2", Elan(64, 128, depth=4, step=2)),
    Row("c3_down", Conv(256, stride=2)),
    Row("c3", Elan(128, 256, depth=4, step=2)),
    Row("c4_down", Conv(512, stride=2)),
    Row("c4", Elan(256, 512, depth=4, step=2)),
    Row("c5_down", Conv(768, stride=2)),
    Row("c5", Elan(384, 768, depth=4, step=2)),
    Row("c6_down", Conv(1024, stride=2)),
    Row("c6", Elan(512, 1024, depth=4, step=2)),
    Row("top", SppCspc(512)),
    Row("f5_join", TopDown(384), ("top", "c5")),
    Row("f5", Elan(384, 384, depth=4, width=192)),
    Row("f4_join", TopDown(256), ("f5", "c4")),
    Row("f4", Elan(256, 256, depth=4, width=128)),
    Row("f3_join", TopDown(128), ("f4", "c3")),
    Row("f3", Elan(128, 128, depth=4, width=64)),
    Row("n4_down", Conv(256, stride=2)),
    Row("n4_join", Concat(), ("n4_down", "f4")),
    Row("n4", Elan(256, 256, depth=4, width=128)),
    Row("n5_down", Conv(384, stride=2)),
    Row("n5_join", Concat(), ("n5_down", "f5")),
    Row("n5", Elan(384, 384, depth=4, width=192)),
    Row("n6_down", Conv(512, stride=2)),
    Row("n6_join", Concat(), ("n6_down", "top")),
    Row("n6", Elan(512, 512, depth=4, width=256)),
    Row("lead3", Conv(256), ("f3",)),
    Row("lead4", Conv(512), ("n4",)),
    Row("lead5", Conv(768), ("n5",)),
    Row("lead6", Conv(1024), ("n6",)),
)

W6_AUX = (
    Row("aux3", Conv(320), ("f3",)),
    Row("aux4", Conv(640), ("f4",)),
    Row("aux5", Conv(960), ("f5",)),
    Row("aux6", Conv(1280), ("top",)),
)

# Six convolutions a block, transitions 1.25 times W6's.
E6 = (
    Row("patches", SpaceToDepth()),
    Row("stem", Conv(80)),
    Row("c2_down", DownC(160)),
    Row("c2", Elan(64, 160, depth=6, step=2)),
    Row("c3_down", DownC(320)),
    Row("c3", Elan(128, 320, depth=6, step=2)),
    Row("c4_down", DownC(640)),
    Row("c4", Elan(256, 640, depth=6, step=2)),
    Row("c5_down", DownC(960)),
    Row("c5", Elan(384, 960, depth=6, step=2)),
    Row("c6_down", DownC(1280)),
    Row("c6", Elan(512, 1280, depth=6, step=2)),
    Row("top", SppCspc(640)),
    Row("f5_join", TopDown(480), ("top", "c5")),
    Row("f5", Elan(384, 480, depth=6, width=192)),
    Row("f4_join", TopDown(320), ("f5", "c4")),
    Row("f4", Elan(256, 320, depth=6, width=128)),
    Row("f3_join", TopDown(160), ("f4", "c3")),
    Row("f3", Elan(128, 160, depth=6, width=64)),
    Row("n4_down", DownC(320)),
    Row("n4_join", Concat(), ("n4_down", "f4")),
    Row("n4", Elan(256, 320, depth=6, width=128)),
    Row("n5_down", DownC(480)),
    Row("n5_join", Concat(), ("n5_down", "f5")),
    Row("n5", Elan(384, 480, depth=6, width=192)),
    Row("n6_down", DownC(640)),
    Row("n6_join", Concat(), ("n6_down", "top")),
    Row("n6", Elan(512, 640, depth=6, width=256)),
    Row("lead3", Conv(320), ("f3",)),
    Row("lead4", Conv(640), ("n4",)),
    Row("lead5", Conv(960), ("n5",)),
    Row("lead6", Conv(1280), ("n6",)),
)

E6_AUX = W6_AUX

# Eight convolutions a block, transitions 1.5 times W6's.
D6 = (
    Row("patches", SpaceToDepth()),
    Row("stem", Conv(96)),
    Row("c2_down", DownC(192)),
    Row("c2", Elan(64, 192, depth=8, step=2)),
    Row("c3_down", DownC(384)),
    Row("c3", Elan(128, 384, depth=8, step=2)),
    Row("c4_down", DownC(768)),
    Row("c4", Elan(256, 768, depth=8, step=2)),
    Row("c5_down", DownC(1152)),
    Row("c5", Elan(384, 1152, depth=8, step=2)),
    Row("c6_down", DownC(1536)),
    Row("c6", Elan(512, 1536, depth=8, step=2)),
    Row("top", SppCspc(768)),
    Row("f5_join", TopDown(576), ("top", "c5")),
    Row("f5", Elan(384, 576, depth=8, width=192)),
    Row("f4_join", TopDown(384), ("f5", "c4")),
    Row("f4", Elan(256, 384, depth=8, width=128)),
    Row("f3_join", TopDown(192), ("f4", "c3")),
    Row("f3", Elan(128, 192, depth=8, width=64)),
    Row("n4_down", DownC(384)),
    Row("n4_join", Concat(), ("n4_down", "f4")),
    Row("n4", Elan(256, 384, depth=8, width=128)),
    Row("n5_down", DownC(576)),
    Row("n5_join", Concat(), ("n5_down", "f5")),
    Row("n5", Elan(384, 576, depth=8, width=192)),
    Row("n6_down", DownC(768)),
    Row("n6_join", Concat(), ("n6_down", "top")),
    Row("n6", Elan(512, 768, depth=8, width=256)),
    Row("lead3", Conv(384), ("f3",)),
    Row("lead4", Conv(768), ("n4",)),
    Row("lead5", Conv(1152), ("n5",)),
    Row("lead6", Conv(1536), ("n6",)),
)

D6_AUX = (
    Row("aux3", Conv(384), ("f3",)),
    Row("aux4", Conv(768), ("f4",)),
    Row("aux5", Conv(1152), ("f5",)),
    Row("aux6", Conv(1536), ("top",)),
)


def _extended(name: str, source: str, elan: Elan) -> tuple[Row, Row, Row]:
    """Extended ELAN: two ELANs read the same map, and their sum goes on.

    The paper's "expand, shuffle, merge cardinality" by group convolution is equivalent to exactly this.
    """
    first, second = f"{name}_first", f"{name}_second"
    return (Row(first, elan, (source,)), Row(second, elan, (source,)), Row(name, Sum(), (second, first)))


E6E = (
    Row("patches", SpaceToDepth()),
    Row("stem", Conv(80)),
    Row("c2_down", DownC(160)),
    *_extended("c2", "c2_down", Elan(64, 160, depth=6, step=2)),
    Row("c3_down", DownC(320)),
    *_extended("c3", "c3_down", Elan(128, 320, depth=6, step=2)),
    Row("c4_down", DownC(640)),
    *_extended("c4", "c4_down", Elan(256, 640, depth=6, step=2)),
    Row("c5_down", DownC(960)),
    *_extended("c5", "c5_down", Elan(384, 960, depth=6, step=2)),
    Row("c6_down", DownC(1280)),
    *_extended("c6", "c6_down", Elan(512, 1280, depth=6, step=2)),
    Row("top", SppCspc(640)),
    Row("f5_join", TopDown(480), ("top", "c5")),
    *_extended("f5", "f5_join", Elan(384, 480, depth=6, width=192)),
    Row("f4_join", TopDown(320), ("f5", "c4")),
    *_extended("f4", "f4_join", Elan(256, 320, depth=6, width=128)),
    Row("f3_join", TopDown(160), ("f4", "c3")),
    *_extended("f3", "f3_join", Elan(128, 160, depth=6, width=64)),
    Row("n4_down", DownC(320)),
    Row("n4_join", Concat(), ("n4_down", "f4")),
    *_extended("n4", "n4_join", Elan(256, 320, depth=6, width=128)),
    Row("n5_down", DownC(480)),
    Row("n5_join", Concat(), ("n5_down", "f5")),
    *_extended("n5", "n5_join", Elan(384, 480, depth=6, width=192)),
    Row("n6_down", DownC(640)),
    Row("n6_join", Concat(), ("n6_down", "top")),
    *_extended("n6", "n6_join", Elan(512, 640, depth=6, width=256)),
    Row("lead3", Conv(320), ("f3",)),
    Row("lead4", Conv(640), ("n4",)),
    Row("lead5", Conv(960), ("n5",)),
    Row("lead6", Conv(1280), ("n6",)),
)

# Partial auxiliary head (table 8): it reads the second ELAN of each pair, before the sum.
E6E_AUX = (
    Row("aux3", Conv(320), ("f3_second",)),
    Row("aux4", Conv(640), ("f4_second",)),
    Row("aux5", Conv(960), ("f5_second",)),
    Row("aux6", Conv(1280), ("top",)),
)
