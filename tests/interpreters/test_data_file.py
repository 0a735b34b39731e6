"""JSON data: what it becomes, where it goes, and one line for whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from interpreters.command.data_file import bind, conditioned, load_data
from interpreters.command.double import DoublePoutine
from interpreters.command.model_check import checked
from interpreters.errors import InputError
from poutine import Coroutine, Observe, PlateError, Program, Sample, UnusedNames, lift, plate, run, same, scale, trace


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text, value",
    [
        ("1", torch.tensor(1)),
        ("1.5", torch.tensor(1.5, dtype=torch.float64)),
        ("true", torch.tensor(True)),
        ("[1, 2]", torch.tensor([1, 2])),
        ("[1, 2.0]", torch.tensor([1.0, 2.0], dtype=torch.float64)),
        ("[[true], [false]]", torch.tensor([[True], [False]])),
        ("[[1, 2, 3], [4, 5, 6]]", torch.tensor([[1, 2, 3], [4, 5, 6]])),
        ("[]", torch.tensor([], dtype=torch.float64)),
        ("0.1", torch.tensor(0.1, dtype=torch.float64)),
    ],
)
def test_values(tmp_path: Path, text: str, value: torch.Tensor):
    assert same(load_data(written(tmp_path, f'{{"y": {text}, "_source": "a note"}}')), {"y": value})


@pytest.mark.parametrize(
    "text, complaint",
    [
        ('{"y": [1, 2', "is no JSON: Expecting"),
        ("", "is no JSON: Expecting value"),
        ("[1, 2]", "expected an object"),
        ('{"y": NaN}', "y is nan"),
        ('{"y": [1, [2, 3]]}', r"y is uneven: y\[0\] has shape \(\), y\[1\] has shape \(2,\)"),
        ('{"y": [[1, 2], [3, null]]}', r"y\[1\]\[1\] is null"),
        ('{"y": [1, -Infinity]}', r"y\[1\] is -inf"),
        ('{"y": 1e999}', "y is inf"),
        ('{"y": "a"}', 'y: expected numbers, or lists of them, got "a"'),
        ('{"y": {"a": 1}}', "y: expected numbers"),
        ('{"y": [true, 1]}', "y has both numbers and true or false"),
        ('{"y": 1, "y": 2}', "the key 'y' is there twice"),
        ('{"y": 123456789012345678901}', "y has a number that is too large for torch.int64"),
        ('{"y": [123456789012345678901]}', "y has a number that is too large for torch.int64"),
    ],
)
def test_what_is_no_data(tmp_path: Path, text: str, complaint: str):
    with pytest.raises(InputError, match=complaint) as raised:
        load_data(written(tmp_path, text))
    assert "data.json" in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match="cannot read the data file .*nowhere.json: No such file"):
        load_data(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="Is a directory"):
        load_data(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"\xe9": 1}')
    with pytest.raises(InputError, match="is no JSON: 'utf-8' codec"):
        load_data(tmp_path / "latin.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str):
    """As Excel and PowerShell write it."""
    (tmp_path / "data.json").write_bytes('{"β": [1.5, 2.0]}'.encode(encoding))
    assert load_data(tmp_path / "data.json")["β"].tolist() == [1.5, 2.0]


# Into a model


def model(x: Any, scale: Any = 1.0) -> Coroutine[None]:
    w = yield Sample("w", Normal, 0.0, 1.0)
    yield Sample("y", Normal(w * torch.as_tensor(x), scale))
    yield Observe("z", Normal, torch.tensor(0.0), w, 1.0)


def positional(x: Any, /, *more: Any, scale: Any, **options: Any) -> Coroutine[None]:
    yield Sample("y", Normal(x, scale))


X, Y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])


def test_parameters_are_arguments_and_the_rest_is_observed():
    program = conditioned(model, {"x": X, "y": Y, "scale": torch.tensor(2.0)})
    t = run(trace(program.fn).traced(*program.args, **program.kwargs))
    assert t.observation_nodes == ["y", "z"] and t.stochastic_nodes == ["w"]
    assert t["y"].value is Y and t["y"].dist.scale.tolist() == [2.0, 2.0]


def test_a_default_may_stay():
    program, rest = bind(model, {"x": X, "y": Y})
    assert program == Program(model, x=X) and same(rest, {"y": Y})


def test_positional_parameters_and_none():
    assert bind(positional, {"x": X, "scale": Y}) == (Program(positional, X, scale=Y), {})


def test_a_poutine_has_the_arguments_of_what_it_wraps():
    wrapped = scale(model, scale=2.0)
    assert bind(wrapped, {"x": X})[0] == Program(wrapped, x=X)


def short(x: torch.Tensor) -> Coroutine[None]:
    """Two observations share a distribution; three do not."""
    yield Observe("y", Normal(torch.zeros(2), 1.0), x)


def in_a_plate(x: torch.Tensor) -> Coroutine[None]:
    @plate("n", 2)
    def each(index: torch.Tensor) -> Coroutine[None]:
        yield Observe("y", Normal, x[index], 0.0, 1.0)

    yield from each()


def with_rest(x: torch.Tensor, *columns: Any, **rest: Any) -> Coroutine[None]:
    yield Sample("w", Normal(x, 1.0))


def silent(x: torch.Tensor) -> Coroutine[None]:
    return
    yield


def test_data_with_a_dimension_that_no_plate_declares():
    with pytest.raises(PlateError, match=r"site 'y': expected a value that broadcasts to batch shape \(2,\) .* got shape \(2, 1\)"):
        checked(in_a_plate, {"x": torch.zeros(2, 1)})


@pytest.mark.parametrize(
    "fn, data, complaint",
    [
        (model, {"y": Y}, r"the data has y, but model\(x, scale\) also needs x"),
        (model, {}, r"the data is empty, but model\(x, scale\) also needs x"),
        (model, {"x": X, "q": Y}, r"the data has q: no argument of model\(x, scale\), and none of its sites w, y, z"),
        (model, {"x": X, "z": Y}, r"the data has z, which model\(x, scale\) observes by itself"),
        (model, {"x": X, "y": Y[:1]}, r"site 'y': expected data of shape \(2,\), got \(1,\)"),
        (model, {"x": X, "y": torch.zeros(3)}, r"site 'y': expected data of shape \(2,\), got \(3,\)"),
        (model, {"x": X, "y": torch.zeros(4, 2)}, r"site 'y': expected data of shape \(2,\), got \(4, 2\)"),
        (short, {"x": Y[0]}, r"site 'y': expected data of shape \(2,\), got \(\)"),
        (short, {"x": torch.zeros(2, 1)}, r"site 'y': expected data of shape \(2,\), got \(2, 1\)"),
        (short, {"x": torch.zeros(5, 2)}, r"site 'y': expected data of shape \(2,\), got \(5, 2\)"),
        (with_rest, {"x": X, "q": Y}, r"the data has q: no argument of with_rest\(x, \*columns, \*\*rest\), and none of its sites w"),
        (silent, {"x": X}, r"silent\(x\) yields no sample and no observation"),
    ],
)
def test_what_does_not_fit_the_model(fn: Any, data: Any, complaint: str):
    with pytest.raises(InputError, match=complaint):
        checked(fn, data)


def test_names_of_the_models_own_handlers_are_not_the_datas():
    with pytest.raises(UnusedNames, match="LiftPoutine names what the program never reached as a param: typo"):
        checked(lift(model, prior={"typo": Normal(0.0, 1.0)}), {"x": X})


@pytest.mark.parametrize("x", [torch.zeros(2)])
def test_observations_may_share_their_distribution(x: torch.Tensor):
    assert checked(short, {"x": x}) == DoublePoutine(short)(x=x)
