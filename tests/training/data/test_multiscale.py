import torch

from training.data.multiscale import draw_side, rescaled


def test_sides_are_whole_strides_from_half_to_one_and_a_half():
    sides = {draw_side(2, step, image_size=640, stride=32) for step in range(1000)}
    assert sides == set(range(320, 961, 32))


def test_a_step_has_its_side_and_a_seed_its_own():
    first, again, other = (
        [draw_side(seed, step, image_size=640, stride=64) for step in range(20)] for seed in (2, 2, 3)
    )
    assert first == again != other


def test_pictures_are_scaled_and_stay_channels_last():
    images = torch.rand(2, 3, 64, 64).to(memory_format=torch.channels_last)
    small = rescaled(images, 32)
    assert small.shape == (2, 3, 32, 32)
    assert small.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(images, 2))
    assert rescaled(images, 64) is images


def test_a_side_is_never_less_than_one_stride():
    assert min(draw_side(0, step, image_size=64, stride=64) for step in range(200)) == 64
