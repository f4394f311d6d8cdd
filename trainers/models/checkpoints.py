"""Read the pretrained files that the models' authors publish, safely and completely.

A file holds a state dict (key `state_dict`, `model` and the like; names perhaps prefixed `module.`, once or more)
beside an optimizer, an epoch and so on. Every tensor of it but the head's must find its place in our model, and every
place its tensor, or nothing is loaded. Heads are replaced by ours. What is left out and assumed is said.
`.safetensors` files with the same names load too, those that `python -m study pretrain` wrote, for any model, and
networks that MXNet saved (`trainers.models.mxnet_params`).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.binary.bits import sgn
from trainers.binary.layers import LATENT_STD, binary_layers
from trainers.binary.weights import LatentWeight
from trainers.content_names import file_sha256
from trainers.errors import UserError
from trainers.model import Pretrained
from trainers.models.mxnet_params import SUFFIX, read_network
from trainers.models.pretrained_file import OwnFile, as_own
from trainers.models.safe_read import read_checkpoint
from trainers.registry import MODELS

# Under which key the weights lie, the likelier first.
_STATE_KEYS = ("state_dict", "model", "model_state_dict", "net")
# What wrappers put before names, each around the other: DataParallel once for every wrapping, and torch.compile.
_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.)+")
_SHOWN = 10  # names in each list of an error message


@dataclass(frozen=True)
class PretrainedReport:
    """What became of a pretrained file.

    Attributes:
        path: the file.
        loaded: names of the model's tensors that were filled from it.
        kept_heads: those among them that are the file's own head.
        replaced_heads: names in the file whose place our own head takes.
        ignored: what else the file held (optimizer, epoch, ...).
        assumed: how the file was read where it might have been meant otherwise, a clause each.
        sha256: of the file.
        sign_layers: binary layers whose values were signs only (all of one magnitude); their latents became ±0.01.
        signs_only: that was so for every binary layer, hence there is no weight scale to take from the file.
        origin: what a file that `python -m study pretrain` wrote says of itself, in a line; empty for others.
    """

    path: str
    loaded: tuple[str, ...]
    kept_heads: tuple[str, ...]
    replaced_heads: tuple[str, ...]
    ignored: tuple[str, ...]
    assumed: tuple[str, ...]
    sha256: str
    sign_layers: tuple[str, ...]
    signs_only: bool
    origin: str = ""

    def summary(self) -> str:
        """The report in lines for the terminal: what was loaded, left out and assumed."""
        lines = [f"{self.path}: {len(self.loaded)} tensors, each of which has its place (sha256 {self.sha256[:16]})"]
        if self.origin:
            lines.append(self.origin)
        if self.kept_heads:
            lines.append("assumed: the head's outputs are the classes here, in their order; there are as many")
        if self.replaced_heads:
            lines.append(f"left out: the head, which a new one replaces: {', '.join(self.replaced_heads)}")
        if self.ignored:
            lines.append(f"left out: what lies beside the weights: {', '.join(self.ignored)}")
        lines += [f"assumed: {clause}" for clause in self.assumed]
        if self.sign_layers:
            which = "every binary layer" if self.signs_only else ", ".join(self.sign_layers)
            no_scale = " and no weight scale" if self.signs_only else ""
            lines.append(f"assumed: signs only, so latent weights of ±{LATENT_STD}{no_scale}: {which}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Match:
    """Tensors of a file by the names of the model's, and what is left over."""

    tensors: dict[str, Tensor]
    kept_heads: tuple[str, ...]
    replaced_heads: tuple[str, ...]
    ignored: tuple[str, ...]
    assumed: tuple[str, ...]
    sha256: str
    own: OwnFile | None = None

    def sign_layers(self, model: nn.Module) -> tuple[str, ...]:
        """The binary layers of `model` whose values in the file have one magnitude that is no scale."""
        scaled = self.own.scaled if self.own else ()
        names = [name for name, _ in binary_layers(model) if f"{name}.weight" in self.tensors and name not in scaled]
        weights = ((name, self.tensors[f"{name}.weight"].float().abs()) for name in names)
        return tuple(name for name, magnitudes in weights if magnitudes.min() == magnitudes.max())

    def report(self, model: nn.Module, path: Path) -> PretrainedReport:
        """What becomes of the file at `path` in `model`."""
        signs = self.sign_layers(model)
        filled = [name for name, _ in binary_layers(model) if f"{name}.weight" in self.tensors]
        return PretrainedReport(
            path=str(path),
            loaded=tuple(self.tensors),
            kept_heads=self.kept_heads,
            replaced_heads=self.replaced_heads,
            ignored=self.ignored,
            assumed=self.assumed,
            sha256=self.sha256,
            sign_layers=signs,
            signs_only=len(signs) == len(filled),
            origin=self.own.line() if self.own else "",
        )


def load_pretrained(model: nn.Module, path: str | Path) -> PretrainedReport:
    """Fill `model`, which must hold latent weights, from the authors' file at `path`; running statistics too.

    Real values of binary layers become latent weights: the standard deviation that BinSFO's accumulators start from and
    the weight scale come from them. Nothing in the model changes unless everything fits.

    Raises:
        UserError: no such file, not a readable checkpoint, more in it than tensors, another model's, or tensors
            that are missing, unexpected, of another shape or not finite.
    """
    match = _match(model, Path(path))
    report = match.report(model, Path(path))
    signs = {f"{name}.weight" for name in report.sign_layers}
    with torch.no_grad():
        for name, target in model.state_dict().items():
            if name in match.tensors:
                value = match.tensors[name].to(target.dtype)
                target.copy_(LATENT_STD * sgn(value) if name in signs else value)
    return report


def check_pretrained(model: nn.Module, path: str | Path) -> PretrainedReport:
    """What `load_pretrained` would report or raise; nothing changes, and `model` may be on the meta device."""
    return _match(model, Path(path)).report(model, Path(path))


def _match(model: nn.Module, path: Path) -> _Match:
    known = {own.build: own for own in MODELS.all().values()}
    about = known.get(type(model))
    name = about.name if about else type(model).__name__
    if not all(isinstance(layer.store, LatentWeight) for _, layer in binary_layers(model)):
        raise RuntimeError(
            "pretrained values go to latent weights, and this model keeps bits only; load before packing"
        )
    published = about.pretrained if about else None
    own: OwnFile | None = None
    ignored: tuple[str, ...] = ()
    if path.suffix == SUFFIX:
        state, assumed = _read_mxnet(path, published)
        sha256 = file_sha256(path)
    else:
        content, sha256 = read_checkpoint(path), file_sha256(path)
        own = as_own(path, content, sha256)
        if own is not None and own.model != name:
            raise UserError(
                f"{path} is a pretrained {own.model}, not a {name}; choose that model, or give another file"
            )
        if own is None and published is None:
            with_files = ", ".join(other.name for other in known.values() if other.pretrained)
            raise UserError(
                f"{path} is no file of {name} that `python -m study pretrain` wrote, and published files are read for "
                f"{with_files} only; pretrain one, or leave pretrained out"
            )
        state, ignored, assumed = _state_dict(content if own is None else own.state(model.state_dict()), path)
    heads_of_files = published.heads if published else own.heads if own else ()
    expected = model.state_dict()
    heads = tuple(key for key in state if key.startswith(heads_of_files))
    kept = own is None and published is not None and published.keeps_head and _fits(state, expected, heads_of_files)
    if not kept:
        expected = {key: value for key, value in expected.items() if not key.startswith(heads_of_files)}
    offered = {key: value for key, value in state.items() if kept or key not in heads}
    # Files older than PyTorch 0.4.1 do not count batches, and with a fixed momentum nothing reads the count.
    missing = [key for key in expected if key not in offered and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in offered if key not in expected]
    fitting = {key: value for key, value in offered.items() if key in expected}
    shapes = [
        f"{key} {tuple(value.shape)} instead of {tuple(expected[key].shape)}"
        for key, value in fitting.items()
        if value.shape != expected[key].shape
    ]
    if missing or unexpected or shapes:
        other = _other_variant(published, state, expected) if published else ""
        raise UserError(_mismatch(name, path, state, missing, unexpected, shapes, own, other))
    broken = [key for key, value in fitting.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise UserError(f"{path} holds values that are not finite, in {_shortened(broken)}; get the file again")
    tensors = {key: fitting[key] for key in expected if key in fitting}
    assumed += _assumed_of_values(tensors, expected)
    return _Match(tensors, heads if kept else (), () if kept else heads, ignored, tuple(assumed), sha256, own)


def _read_mxnet(path: Path, published: Pretrained | None) -> tuple[dict[str, Tensor], list[str]]:
    """The file's tensors under our names, and what was assumed."""
    if published is None or published.mxnet is None:
        those = [own.name for own in MODELS.all().values() if own.pretrained and own.pretrained.mxnet]
        raise UserError(f"{path}: {SUFFIX} files are of {' and '.join(those)}; choose that model, or give another file")
    tensors, assumed = read_network(path, published.mxnet.own_name, published.mxnet.eps)
    return tensors, list(assumed)


def _fits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], heads: tuple[str, ...]) -> bool:
    """Whether a file's head is as large as ours."""
    shapes = [
        {key: value.shape for key, value in tensors.items() if key.startswith(heads)} for tensors in (state, expected)
    ]
    return shapes[0] == shapes[1]


def _other_variant(published: Pretrained, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """That a file is of the same network under other settings, in words; empty where it is not."""
    found, own = published.variant(tuple(state)), published.variant(tuple(expected))
    if found == own:
        return ""
    texts = [" and ".join(f"{name} {value}" for name, value in settings.items()) for settings in (found, own)]
    give = " ".join(f"--{name} {value}" for name, value in found.items() if own.get(name) != value)
    return f": the file is of {texts[0]}, this network of {texts[1]}; give {give}, or another file"


def _assumed_of_values(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Numbers that become others on loading, and numbers that are not there."""
    assumed = []
    converted = Counter(
        (str(value.dtype).removeprefix("torch."), str(expected[key].dtype).removeprefix("torch."))
        for key, value in tensors.items()
        if value.dtype != expected[key].dtype
    )
    for (given, wanted), count in converted.items():
        assumed.append(f"{count} tensors of {given} are meant as {wanted}")
    uncounted = sum(key not in tensors for key in expected)
    if uncounted:
        assumed.append(f"{uncounted} counts of batches that the file lacks are 0; nothing reads them")
    return assumed


def _mismatch(
    name: str,
    path: Path,
    state: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
    shapes: Sequence[str],
    own: OwnFile | None,
    other_variant: str,
) -> str:
    lines = [f"{path} does not fit this {name}"]
    likely = _looks_like(state)
    if own is not None:
        settings = ", ".join(f"{setting} {value}" for setting, value in own.options.items())
        lines[0] += f": it is a {name} of {settings}; give the same settings and images, or another file"
    elif likely == name and other_variant:
        lines[0] += other_variant
    elif likely not in (name, None):
        lines[0] += f"; it looks like a file of {likely}: choose that model, or give a file of {name}"
    else:
        lines[0] += f"; give a file of {name} at width 1 and with 3 input channels, as the authors publish it"
    for title, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes)):
        if names:
            lines.append(f"  {title} ({len(names)}): {_shortened(names)}")
    return "\n".join(lines)


def _looks_like(names: Mapping[str, Tensor]) -> str | None:
    """The model of ours whose layers these names are, if any."""
    return next((model.name for model in MODELS.all().values() if model.recognises(tuple(names))), None)


def _shortened(names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _state_dict(content: object, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...], list[str]]:
    """The file's tensors by name, without prefixes; the names of everything beside them; and what was assumed."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a state dict; {_WANTED}")
    ignored: tuple[str, ...] = ()
    assumed: list[str] = []
    state: Mapping[Any, Any] = content
    keys = [key for key in _STATE_KEYS if isinstance(content.get(key), Mapping)]
    if keys:
        state = content[keys[0]]
        ignored = tuple(str(other) for other in content if other != keys[0])
        if len(keys) > 1:
            assumed.append(f"the weights are those under {keys[0]}, not under {' or '.join(keys[1:])}")
    elif not any(isinstance(value, Tensor) for value in content.values()):
        found = _shortened([str(key) for key in content]) or "nothing"
        raise UserError(f"{path} holds no state dict, only {found}; {_WANTED}")
    strange = [str(name) for name, value in state.items() if not (isinstance(name, str) and _is_plain(value))]
    if strange:
        raise UserError(f"{path} holds something else than plain tensors in {_shortened(strange)}; {_WANTED}")
    stripped = {_PREFIXES.sub("", name): value for name, value in state.items()}
    if len(stripped) < len(state):
        raise UserError(f"{path} holds some tensors twice, with and without the prefix module.; {_WANTED}")
    prefixes = Counter(match.group() for name in state if (match := _PREFIXES.match(name)))
    assumed += [f"{prefix} before {count} names is a wrapper's and means nothing" for prefix, count in prefixes.items()]
    return stripped, ignored, assumed


_WANTED = f"give a file whose {' or '.join(f'`{key}`' for key in _STATE_KEYS)} maps parameter names to tensors"


_PLAIN_TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
        and value.dtype in _PLAIN_TYPES
    )
