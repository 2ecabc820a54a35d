"""What is explained: inputs, baselines and extra arguments, checked and normalised once.

Past this file every attributed input is a dense C-contiguous (B, ...) array of one framework and device, and every
baseline is (B, ...) or (1, ...) like it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ._core import BackendError
from .arrays import EPS, FLOATS, Kit, dtype_name, is_array, is_torch, kit_of, readable, repeats, require_device
from .baselines.resolve import has_objects, resolve


class shared:  # noqa: N801 -- reads as a function: fa.shared(mask)
    """Mark an extra argument that belongs to the model, not to the examples.

    Tensors in ``args`` and ``kwargs`` whose first extent equals the number of examples are gathered row by row;
    ``fa.shared(t)`` passes ``t`` as it is.
    """

    def __init__(self, value: Any) -> None:
        self.value = value


class Outgrown(ValueError):
    """The model's output shape is not the remembered one."""


@dataclass(frozen=True)
class Climb:
    """How the several scalars a row of an adversarial path are differentiated, see csrc/climb.h."""

    explained: bool
    """The first is the explained output; the others, or all, are ascended."""
    logarithm: bool
    """What is ascended is the logarithm of a probability."""
    paths: int
    """Of each example."""


@dataclass
class Problem:
    """One call, normalised. T attributed inputs among the members, B examples."""

    kit: Kit
    members: dict[Any, Any]
    """Every input by position or name, as the caller passed it, dense."""
    attributed: list[Any]
    """Keys of the T floating members, in order."""
    bases: list[Any]
    """(T): (B, ...) or (1, ...)."""
    form: type
    """tuple, dict, or object for a single array."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    group: int = 1
    """Examples that belong together, as the segments of one path: S consecutive ones."""

    def __post_init__(self) -> None:
        self.inputs = [self.members[key] for key in self.attributed]
        """The T attributed inputs."""
        self.examples = int(self.inputs[0].shape[0])
        """B."""

    @property
    def shared_base(self) -> bool:
        """Whether the baseline of every example is the same."""
        return all(base.shape[0] == 1 for base in self.bases)

    @property
    def eps(self) -> float:
        """Spacing at 1 of the numbers that the model computes in: those of the first input."""
        return EPS[dtype_name(self.inputs[0])]

    def assemble(self, members: dict[Any, Any]) -> Any:
        """Members in the form in which the caller gave them."""
        return _assembled(self.form, members)

    def restore(self, values: list[Any]) -> Any:
        """T arrays in the form of the caller's inputs, None for members that are not attributed."""
        found = dict.fromkeys(self.members) | dict(zip(self.attributed, values, strict=True))
        if self.form is object:
            return values[0]
        return found if self.form is dict else tuple(found.values())


def normalise(
    inputs: Any, baseline: Any, args: Any, kwargs: Any, versus: Any = None, ids: Any = None, *, through: bool = False
) -> Problem:
    """Check a call's arrays and bring them into the form of `Problem`.

    ``versus`` and ``ids`` are what objects among the baselines are told.
    ``through``: the inputs are only where the rows of an inner layer come from, so all members count as attributed,
    integers too; what an integer member's baseline is says `_integer_baselines`.
    """
    form: type = object
    if isinstance(inputs, tuple):
        form, named = tuple, dict(enumerate(inputs))
    elif not is_array(inputs) and isinstance(inputs, Mapping):
        form, named = dict, dict(inputs)
    else:
        named = {0: inputs}
    if not named:
        raise ValueError("inputs: expected at least one array, got an empty " + form.__name__)
    named = {key: _checked(form, key, member) for key, member in named.items()}
    kit = kit_of(next(iter(named.values())))
    if kit.name == "torch":
        require_device(kit.device)
    members = {key: _in_kit(form, key, member, kit) for key, member in named.items()}
    attributed = [key for key, member in members.items() if dtype_name(member) in FLOATS]
    _check_members(form, members, attributed, through)
    if baseline is not None and has_objects(baseline):
        baseline = resolve(baseline, _assembled(form, members), _examples(members), versus, ids)
    if through:
        baseline = _integer_baselines(baseline, form, members, attributed)
        attributed = list(members)
    bases = _baselines(baseline, form, members, attributed, kit)
    if not isinstance(args, (tuple, list)):
        raise TypeError(f"args: expected a tuple of extra arguments of the model, got {type(args).__name__}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs: expected a dict of keyword arguments of the model, got {type(kwargs).__name__}")
    return Problem(kit, members, attributed, bases, form, tuple(args), dict(kwargs or {}))


def bound_arrays(clamp: Any, problem: Problem) -> tuple[list[Any] | None, list[Any] | None]:
    """(T) least and (T) greatest values, (B, ...) or (1, ...) both, between which the inputs lie; None: no bounds."""
    if clamp is None:
        return None, None
    if not isinstance(clamp, (tuple, list)) or len(clamp) != 2:
        raise ValueError(f"clamp: expected a pair (low, high), got {clamp!r:.80}")
    edges = [edge if given is None else given for given, edge in zip(clamp, (-np.inf, np.inf), strict=True)]
    form, members, keys, kit = problem.form, problem.members, problem.attributed, problem.kit
    low, high = (_baselines(edge, form, members, keys, kit, "clamp") for edge in edges)
    for t, (key, x) in enumerate(zip(keys, problem.inputs, strict=True)):
        label = _label(form, key).replace("inputs", "clamp")
        if not bool((low[t] <= high[t]).all()):
            raise ValueError(f"{label}: expected low <= high everywhere")
        outside = ((x < low[t]) | (x > high[t])).reshape(problem.examples, -1)
        if bool(outside.any()):
            found = outside.any(1)
            examples = np.flatnonzero(found.cpu().numpy() if is_torch(found) else found)
            shown = ", ".join(map(str, examples[:10].tolist())) + (", ..." if examples.size > 10 else "")
            raise ValueError(f"{label}: expected the inputs inside it, got others in examples {shown}")
        if low[t].shape != high[t].shape:
            low[t], high[t] = (kit.broadcast(v, tuple(x.shape), dtype_name(x)) for v in (low[t], high[t]))
    return low, high


def baseline_arrays(baseline: Any, problem: Problem, members: dict[Any, Any]) -> list[Any]:
    """(T) baselines (B, ...) or (1, ...) of ``members``, like those of ``problem`` but of fewer examples."""
    floating = [key for key in problem.attributed if dtype_name(members[key]) in FLOATS]
    if len(floating) < len(problem.attributed):
        baseline = _integer_baselines(baseline, problem.form, members, floating)
    return _baselines(baseline, problem.form, members, problem.attributed, problem.kit)


def _assembled(form: type, members: dict[Any, Any]) -> Any:
    if form is object:
        return next(iter(members.values()))
    return members if form is dict else tuple(members.values())


def _examples(members: dict[Any, Any]) -> int:
    return int(next(iter(members.values())).shape[0])


def _label(form: type, key: Any) -> str:
    return "inputs" if form is object else f"inputs[{key!r}]"


def _checked(form: type, key: Any, value: Any) -> Any:
    if not is_torch(value):
        if not is_array(value):
            hint = "; several inputs come as a tuple" if isinstance(value, list) else ""
            got = type(value).__name__ + hint
            raise TypeError(f"{_label(form, key)}: expected a tensor or array (B, ...), got {got}")
        value = readable(value, _label(form, key))
    else:
        if not _is_strided(value.layout):
            raise TypeError(
                f"{_label(form, key)}: expected a dense tensor, got layout {value.layout}; call .to_dense()"
            )
        if value.device.type not in ("cpu", "cuda"):
            raise BackendError(
                f"{_label(form, key)}: expected a tensor on cpu or cuda, got {value.device}; move model and inputs"
            )
    if len(value.shape) == 0:
        raise ValueError(f"{_label(form, key)}: expected a batch axis (B, ...), got a 0-d array; pass x[None]")
    return value


@lru_cache(maxsize=8)
def _is_strided(layout: Any) -> bool:
    return str(layout) == "torch.strided"


def _in_kit(form: type, key: Any, member: Any, kit: Kit) -> Any:
    if is_torch(member) != (kit.name == "torch"):
        raise TypeError(
            f"{_label(form, key)}: expected all inputs of one framework ({kit.name}), got {type(member).__name__}"
        )
    if kit.name == "torch" and member.device != kit.device:
        raise ValueError(f"{_label(form, key)}: expected all inputs on {kit.device}, got {member.device}")
    return kit.plain(member)


def _check_members(form: type, members: dict[Any, Any], attributed: list[Any], through: bool) -> None:
    if len({member.shape[0] for member in members.values()}) > 1:
        rows = [int(member.shape[0]) for member in members.values()]
        raise ValueError(f"inputs: expected the same number of examples in all, got {rows}")
    for key, member in members.items():
        name = dtype_name(member)
        if key not in attributed and name.startswith(("float", "complex", "longdouble", "clongdouble")):
            raise TypeError(f"{_label(form, key)}: expected one of {', '.join(FLOATS)}, got {name}")
    if not attributed and not through:
        key, member = next(iter(members.items()))
        raise TypeError(
            f"{_label(form, key)}: expected a floating dtype, got {dtype_name(member)}; integers have no gradient: "
            "convert them (x.float()) if they are quantities; for token ids pass layer=model.embedding, or explain a "
            "function of the embedded tokens"
        )


def _integer_baselines(baseline: Any, form: type, members: dict[Any, Any], floating: list[Any]) -> Any:
    """``baseline`` with an entry for every integer member: those not given stay what they are.

    A single integer input has the baseline 0, as any other; one of several (a mask, positions) does not.
    """
    if form is object:
        return baseline
    given = baseline is not None and not np.isscalar(baseline)
    if not floating and not given:
        raise ValueError(
            f"baseline: expected a {form.__name__} like the inputs, with the ids to start from and None for inputs "
            f"that stay as they are, got {baseline!r}"
        )
    if isinstance(baseline, tuple) and form is tuple and len(baseline) == len(members):
        named = dict(zip(members, baseline, strict=True))
    elif isinstance(baseline, Mapping) and form is dict:
        named = dict(baseline)
    elif given:
        return baseline  # of another form, which is refused with a sentence
    else:
        named = dict.fromkeys(floating, baseline)
    for key, member in members.items():
        if key not in floating and named.get(key) is None:
            named[key] = member
    return named if form is dict else tuple(named.get(key) for key in members)


def _baselines(
    baseline: Any, form: type, members: dict[Any, Any], attributed: list[Any], kit: Kit, name: str = "baseline"
) -> list[Any]:
    """One baseline per attributed input; None and numbers apply to all."""
    if baseline is None or (form is object and not isinstance(baseline, (tuple, Mapping))) or np.isscalar(baseline):
        given = dict.fromkeys(attributed, baseline)
    elif form is dict and isinstance(baseline, Mapping):
        given = {key: baseline.get(key) for key in attributed}
        unknown = set(baseline) - set(members)
        if unknown:
            raise ValueError(f"{name}: expected the names {list(members)}, got {sorted(map(repr, unknown))} too")
    elif form is tuple and isinstance(baseline, tuple) and len(baseline) == len(members):
        given = {key: baseline[key] for key in attributed}
    else:
        wanted = f"a tuple of {len(members)}" if form is tuple else f"a dict like the inputs {list(members)}"
        got = f"a tuple of {len(baseline)}" if isinstance(baseline, tuple) else type(baseline).__name__
        raise TypeError(f"{name}: expected None, a number or {wanted if form is not object else 'an array'}, got {got}")
    return [_baseline(given[key], members[key], form, key, kit, name) for key in attributed]


def _baseline(value: Any, x: Any, form: type, key: Any, kit: Kit, name: str) -> Any:
    shape, dtype = tuple(x.shape), dtype_name(x)
    shared = (1, *shape[1:])
    if value is None:
        return kit.zeros(shared, dtype)
    label = _label(form, key).replace("inputs", name)
    if not is_array(value):
        if np.isscalar(value) and not isinstance(value, (str, bytes)):
            if dtype not in FLOATS and np.asarray(value) % 1 != 0:
                raise TypeError(f"{label}: expected {dtype} like the input, got {value!r}")
            return kit.full(shared, value, dtype)
        raise TypeError(f"{label}: expected None, a number or an array, got {type(value).__name__}")
    value = _like_kit(readable(value, label), kit, label)
    if dtype not in FLOATS and dtype_name(value) in FLOATS:
        raise TypeError(f"{label}: expected {dtype} like the input, got {dtype_name(value)}")
    got = tuple(value.shape)
    if got == shape and dtype_name(value) == dtype:
        value = kit.plain(value)
        return value[:1] if repeats(value) else value
    target = shape if len(got) == len(shape) and got[0] != 1 else shared
    aligned = (1,) * (len(shape) - len(got)) + got
    if len(got) > len(shape) or any(g not in (1, s) for g, s in zip(aligned, target, strict=True)):
        raise ValueError(f"{label}: expected shape {shape[1:]} or {shape}, or one that broadcasts to them, got {got}")
    return kit.broadcast(value, target, dtype)


def reference_arrays(references: Any, problem: Problem) -> list[Any]:
    """(T) arrays (M, ...) like the attributed inputs, M the same in all."""
    return _stacks(references, problem, "references", 1, lambda x: tuple(x.shape[1:]), "M")


def polyline_vertices(path: Any, problem: Problem) -> list[Any]:
    """(T) arrays (V, B, ...), V >= 2 the same in all, whose last vertices are the inputs."""
    found = _stacks(path, problem, "path", 2, lambda x: tuple(x.shape), "V")
    for key, vertices in zip(problem.attributed, found, strict=True):
        last, x = vertices[-1], problem.members[key]
        if not bool(((last == x) | ((last != last) & (x != x))).all()):  # NaN is the engine's to report
            label = _label(problem.form, key).replace("inputs", "path")
            raise ValueError(f"{label}: expected the last vertex to equal the inputs, got another")
    return found


def _stacks(
    given: Any, problem: Problem, name: str, least: int, shape_of: Callable[[Any], tuple[int, ...]], letter: str
) -> list[Any]:
    """(T) arrays with a first axis of their own before ``shape_of`` each input, in the form of the inputs."""
    form, keys = problem.form, list(problem.members)
    if form is dict and isinstance(given, Mapping):
        members = dict(given)
    elif form is tuple and isinstance(given, tuple) and len(given) == len(keys):
        members = dict(zip(keys, given, strict=True))
    elif form is object and is_array(given):
        members = {keys[0]: given}
    else:
        raise TypeError(
            f"{name}: expected arrays ({letter}, ...) in the form of the inputs, got {type(given).__name__}"
        )
    found = []
    for key in problem.attributed:
        x, label, value = problem.members[key], _label(form, key).replace("inputs", name), members.get(key)
        if not is_array(value):
            raise TypeError(f"{label}: expected an array ({letter}, ...), got {type(value).__name__}")
        value = _like_kit(readable(value, label), problem.kit, label)
        shape, wanted = tuple(value.shape), shape_of(x)
        if len(shape) == 0 or shape[0] < least or shape[1:] != wanted:
            raise ValueError(f"{label}: expected shape {(letter, *wanted)} with {letter} >= {least}, got {shape}")
        found.append(problem.kit.broadcast(value, shape, dtype_name(x)))
    if len({int(value.shape[0]) for value in found}) > 1:
        raise ValueError(f"{name}: expected the same {letter} in all, got {[int(v.shape[0]) for v in found]}")
    return found


def _like_kit(value: Any, kit: Kit, label: str) -> Any:
    """``value`` in the framework of the inputs; devices must agree already."""
    if kit.name == "torch" and not is_torch(value):
        value = kit.table(np.array(value))  # a copy: torch takes no read-only memory
    if kit.name == "numpy" and is_torch(value):
        value = value.detach().cpu().numpy()
    if kit.name == "torch" and value.device != kit.device:
        raise ValueError(f"{label}: expected a tensor on {kit.device} like the inputs, got {value.device}")
    return value
