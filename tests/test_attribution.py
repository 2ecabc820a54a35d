from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from fastattr.attribution import Attribution

FIELDS = {
    "values", "gap", "error", "evaluations", "converged", "output", "baseline_output", "standard_error", "paths",
    "target", "method", "engine", "seconds",
}  # fmt: skip


def attribution(shape=(3, 1, 8, 8), **fields):
    rng = np.random.default_rng(5)
    count = shape[0]
    given = {
        "values": rng.normal(size=shape).astype(np.float32),
        "gap": np.full(count, 1e-3),
        "error": np.linspace(0.001, 0.009, count),
        "evaluations": np.full(count, 31),
        "converged": np.ones(count, dtype=bool),
        "output": rng.normal(size=count),
        "baseline_output": np.zeros(count),
        "target": np.arange(count),
        "method": "IntegratedGradients",
        "engine": "callback",
        "seconds": 0.25,
        "inputs": rng.uniform(size=shape).astype(np.float32),
    }
    return Attribution(**(given | fields))


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return type(a) is type(b) and (a == b or a != a)


def test_the_fields_are_those_of_the_design():
    assert {name for name in vars(attribution()) if not name.startswith("_")} == FIELDS


def test_arguments_are_keywords():
    with pytest.raises(TypeError):
        Attribution(np.zeros((1, 2)))


def test_numpy_keeps_the_structure_and_shares_memory():
    a = attribution()
    assert a.numpy() is a.values
    pair = attribution(values=(a.values, None))
    assert pair.numpy()[0] is a.values and pair.numpy()[1] is None
    named = attribution(values={"image": a.values, "ids": None})
    assert named.numpy()["image"] is a.values and named.numpy()["ids"] is None


def test_numpy_of_tensors():
    torch = pytest.importorskip("torch")
    values = torch.randn(2, 3, requires_grad=True)
    array = attribution((2, 3), values=values).numpy()
    assert isinstance(array, np.ndarray) and np.shares_memory(array, values.detach().numpy())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gap": np.array([np.nan, 1.0, -np.inf])},
        {"values": (np.ones((3, 2)), None), "inputs": (np.ones((3, 2)), np.ones((3, 4), dtype=np.int64))},
        {"values": {"image": np.ones((3, 2)), "a.b": None}, "target": None},
        {"target": (1, 2), "standard_error": np.ones((3, 1, 8, 8))},
        {"paths": {"class": np.array([[1, 2]]), "reached": np.array([[True, False]]), "notes": ("a", 1.5, None, True)}},
        {"paths": {3: {"steps": np.arange(3)}}, "seconds": float("nan")},
        {"target": 7, "engine": 'native "é"', "values": np.zeros((0, 1, 8, 8)), "inputs": None},
    ],
)
def test_npz_brings_every_field_back(tmp_path, fields):
    before = attribution(**fields)
    before.save(tmp_path / "a.npz")
    after = Attribution.load(tmp_path / "a.npz")
    for name in (*FIELDS, "_inputs"):
        assert same(getattr(before, name), getattr(after, name)), name


def test_npz_of_tensors_comes_back_as_numpy(tmp_path):
    torch = pytest.importorskip("torch")
    before = attribution((2, 3), values=torch.ones(2, 3), gap=torch.zeros(2, dtype=torch.float64), inputs=None)
    before.save(tmp_path / "a.npz")
    after = Attribution.load(tmp_path / "a.npz")
    assert same(after.values, np.ones((2, 3), dtype=np.float32)) and same(after.gap, np.zeros(2))


def test_npz_holds_no_pickle(tmp_path):
    attribution(paths={"class": np.array([1])}).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert not any(file[name].dtype.hasobject for name in file.files)
        assert json.loads(str(file["fastattr"]))["method"] == "IntegratedGradients"
    with pytest.raises(TypeError, match="paths: expected arrays, numbers, strings"):
        attribution(paths=object()).save(tmp_path / "b.npz")
    with pytest.raises(TypeError, match="paths: expected str or int as dict keys, got tuple"):
        attribution(paths={(1, 2): 3}).save(tmp_path / "b.npz")
    assert not (tmp_path / "b.npz").exists()


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path: expected a name ending in .png or .npz, got .*a\.pt"):
        attribution().save(tmp_path / "a.pt")
    np.savez(tmp_path / "other.npz", values=np.ones(3))
    with pytest.raises(ValueError, match="path: expected an .npz file written by Attribution.save"):
        Attribution.load(tmp_path / "other.npz")


def test_repr_is_one_short_line():
    text = repr(attribution())
    assert text == (
        "Attribution(IntegratedGradients, values (3, 1, 8, 8) float32, error at most 0.009, "
        "31 evaluations an example, engine 'callback')"
    )
    assert "2 not converged" in repr(attribution(converged=np.array([True, False, False])))
    assert "None" in repr(attribution(values=(np.ones((3, 2)), None)))
    assert "error" not in repr(attribution(error=np.full(3, np.nan)))
    assert repr(Attribution(values=np.zeros((0, 2)))) == "Attribution(unnamed, values (0, 2) float64)"


def test_html_is_a_table_of_at_most_ten_examples():
    text = attribution((25, 6), inputs=None, method="<Saliency>")._repr_html_()
    assert text.count("<tr>") == 11 and "and 15 more" in text
    assert "&lt;Saliency&gt;" in text and "<Saliency>" not in text
    assert "0.10%" in text and "<img" not in text
    assert attribution((0, 6))._repr_html_().count("<tr>") == 1
    assert "nan" not in attribution((2, 6), gap=np.full(2, np.nan), error=np.full(2, np.nan))._repr_html_()
    assert "(2, 5)" in attribution((2, 6), target=(np.array([2, 3]), np.array([5, 6])))._repr_html_()


def test_html_shows_images():
    pytest.importorskip("matplotlib")
    assert "src='data:image/png;base64," in attribution()._repr_html_()


def test_html_and_files_work_without_matplotlib_and_torch(tmp_path):
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = sys.modules['torch'] = None\n"
        "import numpy as np; from fastattr.attribution import Attribution\n"
        "a = Attribution(values=np.ones((2, 1, 8, 8)), error=np.ones(2), target=np.arange(2))\n"
        f"a.save({str(tmp_path / 'a.npz')!r})\n"
        "assert '<img' not in a._repr_html_() and '<table>' in a._repr_html_()\n"
        "try: a.plot()\n"
        "except ImportError as error: sys.stdout.write(str(error))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install" in run.stdout and (tmp_path / "a.npz").exists()


def test_plot_of_images(tmp_path):
    pytest.importorskip("matplotlib")
    a = attribution((12, 3, 8, 8))
    figure = a.plot()
    assert sum(bool(ax.images) for ax in figure.axes[:-1]) == 3 * 8  # input, map, overlay of the first eight
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:3] == ["example 0", "target 0, error 0.1%", "over the input"]
    one = a.plot(-1)
    assert one.axes[0].get_title() == "example 11"
    np.testing.assert_allclose(one.axes[0].images[0].get_array(), np.moveaxis(a._inputs[11], 0, -1), rtol=1e-6)
    a.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_plot_without_inputs_draws_the_maps_alone():
    pytest.importorskip("matplotlib")
    for a in (attribution(inputs=None), attribution((3, 16, 8, 8)), attribution((3, 8, 8), inputs=None)):
        assert sum(bool(ax.images) for ax in a.plot().axes[:-1]) == 3


def test_plot_of_tables_and_of_a_chosen_member():
    pytest.importorskip("matplotlib")
    table, image = np.arange(6.0).reshape(2, 3), np.ones((2, 1, 4, 4))
    a = attribution((2, 3), values={"ids": None, "table": table, "image": image}, inputs=None)
    names = [t.get_text() for t in a.plot(names=["a", "b", "c"]).axes[1].get_yticklabels()]
    assert names == ["c", "b", "a"]
    assert a.plot(member="image").axes[0].images
    with pytest.raises(ValueError, match=r"member: expected one of \['table', 'image'\], got 'ids'"):
        a.plot(member="ids")


@pytest.mark.parametrize("examples", [3, [0, -4], []])
def test_plot_refuses_examples_that_are_not_there(examples):
    with pytest.raises(ValueError, match="examples: expected numbers from 0 to 2"):
        attribution().plot(examples)


def test_plot_refuses_volumes():
    with pytest.raises(ValueError, match=r"values: expected shape .* got \(3, 1, 2, 2, 2\)"):
        attribution((3, 1, 2, 2, 2)).plot()


def test_plot_does_not_change_the_values():
    pytest.importorskip("matplotlib")
    a = attribution()
    values, inputs = a.values.copy(), a._inputs.copy()
    a.plot()
    a._repr_html_()
    assert np.array_equal(a.values, values) and np.array_equal(a._inputs, inputs)
