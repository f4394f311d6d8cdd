"""Labels as Parquet files hold them: which become classes, and what to do about those that cannot be meant.

| column | classes |
| --- | --- |
| integers, signed or not | as they are, from 0; with declared names, or covering 0..max |
| text, categories of text | their values, sorted by code point (capitals first); declared names: in that order |
| true and false | false is 0, true is 1 |
| integers as categories | the integers |
| floats, dates, lists, ... | refused |
| a null or empty label | refused |

Refused are all instances at once, with the line of pyarrow that mends the table `t` read from the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.notes import ASSUMED, Note, listed, note
from trainers.errors import UserError

_SHOWN = 20  # rows or names in a message


@dataclass(frozen=True)
class Labels:
    """One file's label column.

    Attributes:
        column: its name.
        path: the file.
        numbers: int64 (rows,); None for text.
        texts: of each row; None for integers.
        names: what the integers are called where the type tells (false and true).
    """

    column: str
    path: str
    numbers: np.ndarray | None
    texts: np.ndarray | None
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Classes:
    """The classes of all files together: their names, each file's labels as int64 (rows,), and what was assumed."""

    names: tuple[str, ...]
    numbers: tuple[np.ndarray, ...]
    notes: tuple[Note, ...] = ()


def _set_line(column: str, value: str) -> str:
    return f't = t.set_column(t.schema.get_field_index("{column}"), "{column}", {value})'


def read_labels(values: pa.Array, column: str, path: str) -> Labels:
    """One file's labels.

    Args:
        values: the column.
        column, path: its name and the file's, for messages.

    Raises:
        UserError: a type that tells no class, or rows without a label.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        raise UserError(f"{path}: column {column!r} holds nulls only; fill it in")
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise UserError(
            f"{path}: column {column!r} has type {kind}; it must hold integers, text or true and false. "
            f"{_mend_type(kind, column)}"
        )
    missing = values.is_null()
    if text:
        missing = pc.or_(missing, pc.fill_null(pc.equal(values.cast(pa.large_string()), ""), False))
    rows = np.flatnonzero(missing.to_numpy(zero_copy_only=False))
    if rows.size:
        more = ", ..." if rows.size > _SHOWN else ""
        keep = f'pc.and_(pc.is_valid(t["{column}"]), pc.not_equal(t["{column}"], ""))'
        keep = keep if text else f'pc.is_valid(t["{column}"])'
        raise UserError(
            f"{path} row {rows[0]} has no label (null{' or empty' if text else ''}); {rows.size} such row(s): "
            f"{', '.join(map(str, rows[:_SHOWN]))}{more}; leave them out with "
            f"`import pyarrow.compute as pc; t = t.filter({keep})`"
        )
    if text:
        return Labels(column, path, None, np.asarray(values.to_pylist(), dtype=object))
    if pa.types.is_boolean(kind):
        return Labels(column, path, values.to_numpy(zero_copy_only=False).astype(np.int64), None, ("false", "true"))
    return Labels(column, path, _int64(values, path, column), None)


def _int64(values: pa.Array, path: str, column: str) -> np.ndarray:
    try:
        return np.asarray(values.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{path}: column {column!r} holds numbers that are no labels ({error}); count the classes from 0"
        ) from error


def _mend_type(kind: pa.DataType, column: str) -> str:
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        cast = f't["{column}"].cast("int64")'
        return f"Where every value is whole: `{_set_line(column, cast)}`"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        first = f'pc.list_element(t["{column}"], 0)'
        return f"One picture has one class; for the first of each list: `{_set_line(column, first)}`"
    as_text = f't["{column}"].cast("string")'
    return f"To make each value a class: `{_set_line(column, as_text)}`"


def number_labels(files: Sequence[Labels], declared: tuple[str, ...] | None) -> Classes:
    """The classes of a data set's files.

    Args:
        files: each file's labels.
        declared: the classes' names by the files' metadata.

    Raises:
        UserError: files of different kinds, labels that no declared class has, or integers with gaps.
    """
    kinds = {labels.texts is not None: labels for labels in files}
    if len(kinds) > 1:
        raise UserError(
            f"{kinds[True].path} has labels of text and {kinds[False].path} has integers; all files must agree"
        )
    if True in kinds:
        return _number_texts(files, declared)
    numbers = tuple(labels.numbers for labels in files if labels.numbers is not None)
    if declared is not None:
        return Classes(declared, numbers)
    told = [labels.names for labels in files]
    if told[0] is not None and all(names == told[0] for names in told):
        what = "{class|classes} from labels of true and false: false=0, true=1"
        return Classes(told[0], numbers, (note(ASSUMED, len(told[0]), what),))
    present = np.unique(np.concatenate(numbers))
    if present.size == 0 or present[0] != 0 or present[-1] != present.size - 1:
        raise UserError(_gaps(files[0], present))
    what = f"{{class|classes}} that no metadata name, called by their numbers, 0..{present.size - 1}"
    return Classes(tuple(str(index) for index in present), numbers, (note(ASSUMED, int(present.size), what),))


def _number_texts(files: Sequence[Labels], declared: tuple[str, ...] | None) -> Classes:
    texts = [labels.texts for labels in files if labels.texts is not None]
    present = sorted({text for values in texts for text in values})
    names = declared or tuple(present)
    unknown = [text for text in present if text not in set(names)]
    if unknown:
        raise UserError(
            f"{files[0].path}: column {files[0].column!r} has labels that no declared class has: {listed(unknown)}; "
            f"declared are {listed(names)}; correct the labels or the metadata"
        )
    place = {name: index for index, name in enumerate(names)}
    numbers = tuple(np.array([place[text] for text in values], dtype=np.int64) for values in texts)
    if declared is not None:
        return Classes(names, numbers)
    order = ", ".join(f"{name}={index}" for index, name in enumerate(names[:_SHOWN]))
    more = ", ..." if len(names) > _SHOWN else ""
    what = "{class|classes} from labels of text, in sorted order: "
    return Classes(names, numbers, (note(ASSUMED, len(names), what, names=order + more),))


def _gaps(labels: Labels, present: np.ndarray) -> str:
    if not present.size:
        return f"{labels.path} holds no rows; add pictures"
    column = labels.column
    begin = (
        f"{labels.path} declares no classes and holds {present.size} different labels from {present[0]} to "
        f"{present[-1]}; labels must cover 0..classes-1, or the schema metadata must say num_classes or class_names. "
    )
    if present[0] > 0 and present[-1] - present[0] == present.size - 1:
        less = f'pc.subtract(t["{column}"], {present[0]})'
        return f"{begin}To count from 0: `import pyarrow.compute as pc; {_set_line(column, less)}`"
    as_text = f't["{column}"].cast("string")'
    return f"{begin}To make each number a class of its own: `{_set_line(column, as_text)}`"
