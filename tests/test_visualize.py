from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastattr import visualize
from fastattr.visualize.convert import to_display

MAPS = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6),
    elements=st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -1.0, np.inf, np.nan, 1e308, -1e308, 5e-324])),
)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def opened(figure) -> np.ndarray:
    """The figure's pixels (H, W, 3) in [0, 1]."""
    pytest.importorskip("PIL")
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(figure.png())).convert("RGB")) / 255


def test_reduce_channels_by_hand(rng):
    values = rng.normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(visualize.reduce_channels(values), values[:, 0] + values[:, 1] + values[:, 2])
    np.testing.assert_allclose(visualize.reduce_channels(values, "mean"), values.sum(axis=1) / 3)
    np.testing.assert_allclose(visualize.reduce_channels(values, "abs"), np.abs(values).sum(axis=1))
    np.testing.assert_array_equal(visualize.reduce_channels(values[0]), visualize.reduce_channels(values)[0])
    np.testing.assert_array_equal(visualize.reduce_channels(values[0, 0]), values[0, 0])
    np.testing.assert_array_equal(visualize.reduce_channels(values[0, 0], "abs"), np.abs(values[0, 0]))


def test_normalize_clips_to_the_80th_and_99th_percentile():
    ramp = np.random.default_rng(0).permutation(101.0 + np.arange(101)).reshape(1, 101)  # percentile q is 101 + q
    heat = visualize.normalize(ramp)
    np.testing.assert_allclose(heat, np.clip((ramp - 181) / 19, 0, 1), atol=1e-12)
    np.testing.assert_allclose(
        visualize.normalize(ramp, percentiles=(0, 50)), np.clip((ramp - 101) / 50, 0, 1), atol=1e-12
    )


def test_normalize_symmetric_keeps_zero_in_the_middle():
    heat = visualize.normalize(np.array([[-4.0, 0.0, 1.0, 2.0]]), percentiles=(0, 100), symmetric=True)
    np.testing.assert_allclose(heat, [[0, 0.5, 0.625, 0.75]])


@pytest.mark.parametrize("constant", [0.0, 3.0, -2.5, 1e-310])
@pytest.mark.parametrize("symmetric", [False, True])
def test_constant_maps_are_zeros(constant, symmetric):
    heat = visualize.normalize(np.full((3, 2, 4, 4), constant), symmetric=symmetric)
    assert heat.shape == (3, 4, 4) and not heat.any()


def test_a_single_pixel_survives_the_percentiles():
    sparse = np.zeros((20, 20))
    sparse[3, 4] = 2
    assert np.array_equal(visualize.normalize(sparse), sparse / 2)
    assert np.array_equal(visualize.normalize_signed(-sparse), -sparse / 2)
    hole = np.ones((20, 20))
    hole[3, 4] = -5
    assert np.array_equal(visualize.normalize(hole), (hole == 1).astype(float))


def test_each_map_of_a_batch_is_normalized_alone(rng):
    values = rng.normal(size=(3, 2, 7, 5)) * np.array([1, 10, 1000])[:, None, None, None]
    for normalize in (visualize.normalize, visualize.normalize_signed):
        for one, batch in zip(values, normalize(values), strict=True):
            np.testing.assert_array_equal(normalize(one), batch)


def test_signed_keeps_sign_and_zero():
    signed = visualize.normalize_signed(np.array([[-4.0, 0.0, 1.0, 8.0]]), percentile=100)
    np.testing.assert_allclose(signed, [[-0.5, 0, 0.125, 1]])
    np.testing.assert_allclose(
        visualize.normalize_signed(np.array([[-4.0, 0.0, 1.0, 8.0]]), scale=2), [[-1, 0, 0.5, 1]]
    )
    assert not visualize.normalize_signed(np.zeros((2, 2))).any()
    assert not visualize.normalize_signed(np.ones((2, 2)), scale=0).any()


def test_shared_scale_is_the_percentile_of_all_together():
    a, b = np.arange(50.0).reshape(1, 50), -np.arange(50.0, 101).reshape(1, 51)
    assert visualize.shared_scale(a, b, percentile=99) == pytest.approx(99)
    assert visualize.shared_scale(np.zeros((2, 2))) == 0


@settings(max_examples=300, deadline=None)
@given(MAPS, st.booleans(), st.sampled_from(["sum", "mean", "abs"]))
def test_whatever_comes_in_no_nan_comes_out(values, symmetric, channels):
    with np.errstate(all="ignore"):
        heat = visualize.normalize(values, symmetric=symmetric, channels=channels)
        signed = visualize.normalize_signed(values, channels=channels)
        colors = visualize.colorize(signed)
    assert heat.min() >= 0 and heat.max() <= 1
    assert signed.min() >= -1 and signed.max() <= 1
    assert colors.min() >= 0 and colors.max() <= 1 and colors.shape == (*signed.shape, 3)


@pytest.mark.parametrize("cmap", list(visualize.COLORMAPS))
def test_colors_diverge_from_near_white(cmap):
    against, zero, for_ = visualize.colorize(np.array([-1.0, 0.0, 1.0]), cmap)
    assert zero.min() > 0.9
    assert np.abs(against - for_).max() > 0.4
    np.testing.assert_array_equal(visualize.colorize(np.array([-7.0, np.nan, 7.0]), cmap), [against, zero, for_])
    luminance = visualize.colorize(np.linspace(0, 1, 50), cmap) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) < 0)  # stronger is darker


def test_default_colors_are_told_apart_without_red_green_vision():
    """Deuteranopes lose the difference of red and green: blue against yellowness must remain."""
    against, for_ = visualize.colorize(np.array([-0.6, 0.6]))
    yellow_minus_blue = lambda c: (c[0] + c[1]) / 2 - c[2]  # noqa: E731
    assert yellow_minus_blue(for_) - yellow_minus_blue(against) > 0.5


def test_overlay_shows_the_image_where_nothing_matters(rng):
    image, values = rng.uniform(size=(3, 6, 6)), np.zeros((3, 6, 6))
    plain = visualize.overlay(image, values)
    assert np.array_equal(plain[..., 0], plain[..., 1]) and np.array_equal(plain[..., 0], plain[..., 2])
    values[:, 2, 3] = 5
    marked = visualize.overlay(image, values)
    changed = np.abs(marked - plain).max(axis=-1) > 0
    assert changed[2, 3] and changed.sum() == 1
    np.testing.assert_allclose(marked[2, 3], visualize.colorize(np.array(1.0)))
    np.testing.assert_array_equal(visualize.overlay(image, values, strength=0), plain)


def test_heatmap_times_input(rng):
    image, values = rng.uniform(size=(3, 6, 6)), rng.normal(size=(3, 6, 6))
    expected = np.moveaxis(image, 0, -1) * visualize.normalize(values)[..., None]
    np.testing.assert_allclose(visualize.heatmap_times_input(image, values), expected)


def test_display_scales_what_is_outside_zero_to_one():
    assert to_display(np.array([[0.25, 0.5]]))[..., 0].tolist() == [[0.25, 0.5]]
    assert to_display(np.array([[-1.0, 3.0]]))[..., 2].tolist() == [[0, 1]]
    assert not to_display(np.full((2, 2), 9.0)).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: visualize.normalize(np.zeros(3)), r"values: expected shape .* got \(3,\)"),
        (lambda: visualize.normalize(np.zeros((0, 3))), r"got \(0, 3\)"),
        (lambda: visualize.normalize(np.eye(3), percentiles=(99, 80)), "percentiles: expected 0 <= low < high"),
        (lambda: visualize.normalize(np.eye(3), channels="max"), "channels: expected one of sum, mean, abs, got 'max'"),
        (lambda: visualize.normalize_signed(np.eye(3), percentile=101), "percentile: expected"),
        (lambda: visualize.normalize_signed(np.eye(3), scale=-1), "scale: expected a number >= 0"),
        (lambda: visualize.colorize(np.eye(3), "rainbow"), "cmap: expected one of blue_orange, red_green"),
        (lambda: visualize.overlay(np.eye(3), np.eye(4)), "image: expected height and width"),
        (lambda: visualize.overlay(np.zeros((2, 3, 3)), np.eye(3)), "image: expected shape"),
        (lambda: visualize.overlay(np.eye(3), np.eye(3), strength=2), "strength"),
        (lambda: visualize.grid([]), "maps: expected at least one"),
        (lambda: visualize.grid([np.eye(3)], titles=["a", "b"]), "titles: expected one for each of 1, got 2"),
        (lambda: visualize.grid([np.eye(3)], images=[]), "images: expected one for each of 1, got 0"),
        (lambda: visualize.panels([np.eye(3)]), r"pictures: expected shape \(H, W, 3\)"),
        (lambda: visualize.bars(np.zeros((2, 2, 2))), "rows: expected shape"),
        (lambda: visualize.bars(np.ones(3), names=["a"]), "names: expected one for each of 3, got 1"),
        (lambda: visualize.contour_overlay(np.eye(3), np.eye(4)), "image: expected"),
    ],
)
def test_refusals_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_text_is_not_a_map():
    with pytest.raises(TypeError, match="values: expected an array of real numbers"):
        visualize.normalize(np.array([["a"]]))


def test_tensors_are_arrays():
    torch = pytest.importorskip("torch")
    values = torch.randn(2, 3, 4, 4, requires_grad=True)
    expected = visualize.normalize(values.detach().numpy())
    np.testing.assert_array_equal(visualize.normalize(values), expected)
    assert visualize.normalize(values.to(torch.bfloat16)).shape == (2, 4, 4)


def test_grid_shares_one_scale():
    pytest.importorskip("matplotlib")
    weak, strong = np.full((4, 4), 0.1), np.full((4, 4), 1.0)
    shared = visualize.grid([weak, strong], titles=["weak", "strong"])
    drawn = [ax.images[0].get_array() for ax in shared.axes if ax.images]
    np.testing.assert_allclose(drawn[1], np.broadcast_to(visualize.colorize(np.array(1.0)), (4, 4, 3)))
    np.testing.assert_allclose(drawn[0], np.broadcast_to(visualize.colorize(np.array(0.1)), (4, 4, 3)))
    assert [ax.get_title() for ax in shared.axes[:2]] == ["weak", "strong"]
    assert len(shared.axes) == 3  # two maps and the colour bar
    apart = visualize.grid([weak, strong], shared=False)
    np.testing.assert_allclose(apart.axes[0].images[0].get_array(), drawn[1])
    assert len(apart.axes) == 2


def test_grid_wraps_and_lays_over_images(rng):
    pytest.importorskip("matplotlib")
    figure = visualize.grid(rng.normal(size=(5, 3, 8, 8)), images=rng.uniform(size=(5, 3, 8, 8)), columns=2)
    assert sum(bool(ax.images) for ax in figure.axes[:6]) == 5
    pixels = opened(figure)
    assert pixels.shape[0] > pixels.shape[1]  # three rows of two


def test_contour_goes_around_what_matters():
    pytest.importorskip("matplotlib")
    values = np.zeros((9, 9))
    values[3:6, 3:6] = 1
    figure = visualize.contour_overlay(np.full((9, 9), 0.5), values, title="nine")
    paths = [path.vertices for collection in figure.axes[0].collections for path in collection.get_paths()]
    vertices = np.concatenate([p for p in paths if len(p)])
    assert np.abs(vertices - 4).max() == pytest.approx(1.5)
    assert not visualize.contour_overlay(np.eye(4), np.ones((4, 4))).axes[0].collections


def test_bars_are_sorted_by_size():
    pytest.importorskip("matplotlib")
    figure = visualize.bars([0.1, -3.0, 2.0], names=["a", "b", "c"], most=2, titles=["one"])
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "c"]
    assert [p.get_width() for p in ax.patches] == [-3, 2]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()


def test_figures_are_not_kept_by_pyplot():
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    figure = visualize.grid([np.eye(3)])
    assert plt.get_fignums() == before
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_without_matplotlib_numbers_work_and_figures_say_what_is_missing():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import numpy as np; from fastattr import visualize\n"
        "visualize.overlay(np.eye(3), np.eye(3))\n"
        "try: visualize.grid([np.eye(3)])\n"
        "except ImportError as error: sys.stdout.write(str(error))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "figures need matplotlib: pip install 'fastattr[plot]'"
