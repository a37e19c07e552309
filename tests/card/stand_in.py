"""A card that is none: every mixing of devices is an error, and all numbers are real.

torch's key for devices of others (PrivateUse1) becomes a device named "card". A tensor on it is a wrapper
around a tensor on the CPU; what is asked of it is computed there. An operation that gets tensors of both
devices raises MixedError, as a real card does (numbers without dimensions may mix, there as well).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from typing_extensions import Self

NAME = "card"
TO_COPY, COPY = torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default


class MixedError(RuntimeError):
    """Tensors of two devices met in one operation."""


class OnCard(torch.Tensor):
    """A tensor that says it is on the card."""

    held: Tensor

    def __new__(cls, inner: Tensor) -> Self:
        found = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(NAME, 0),
        )
        found.held = inner
        return found

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnCard({self.held})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return compute(func, args, dict(kwargs or {}))


class CardMode(TorchDispatchMode):
    """Serves what makes tensors on the card, and copies to it."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return compute(func, args, dict(kwargs or {}))


def compute(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One operation, wherever its tensors are."""
    wanted = kwargs.get("device")
    to_card = None if wanted is None else torch.device(wanted).type == NAME
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    on_card = any(isinstance(tensor, OnCard) for tensor in tensors)
    if not on_card and not to_card:
        return func(*args, **kwargs)
    if wanted is not None:
        kwargs["device"] = torch.device("cpu") if to_card else wanted
    if kwargs.get("pin_memory"):
        kwargs["pin_memory"] = False
    if func not in (TO_COPY, COPY):
        _refuse_mixing(func, tensors, on_card)
    inner_args, inner_kwargs = tree_map(_inner, (tuple(args), kwargs))
    found = func(*inner_args, **inner_kwargs)
    return _wrapped(func, args, kwargs, found, on_card if to_card is None else to_card)


def _refuse_mixing(func: Any, tensors: Sequence[Tensor], on_card: bool) -> None:
    """Raise MixedError where tensors of both devices take part."""
    elsewhere = [tuple(one.shape) for one in tensors if not isinstance(one, OnCard) and one.dim() > 0]
    if on_card and elsewhere:
        raise MixedError(f"{func}: on the card and on the CPU {elsewhere}")


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, OnCard) else value


def _wrapped(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], found: Any, to_card: bool) -> Any:
    """What the operation returns: its own argument where it works in place, else new tensors."""
    returns = func._schema.returns
    written = [one.name for one in func._schema.arguments if one.alias_info and one.alias_info.is_write]
    if returns and written and returns[0].alias_info and returns[0].alias_info.is_write:
        given = dict(zip((one.name for one in func._schema.arguments), args, strict=False)) | dict(kwargs)
        outputs = tuple(given[name] for name in written)
        return outputs[0] if len(returns) == 1 else outputs
    if not to_card:
        return found
    return tree_map(lambda one: OnCard(one) if isinstance(one, Tensor) else one, found)


def _module() -> Any:
    """What torch asks of a device besides tensors."""
    return SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        set_device=lambda _device: None,
        synchronize=lambda *_: None,
        empty_cache=lambda: None,
        _is_in_bad_fork=lambda: False,
        is_initialized=lambda: True,
        manual_seed_all=lambda _seed: None,  # what is drawn on the card is drawn by the CPU's generator
        get_amp_supported_dtype=lambda: [torch.float16, torch.bfloat16],
        get_rng_state=lambda *_: torch.get_rng_state(),
        set_rng_state=lambda state, *_: torch.set_rng_state(state),
    )


def install() -> None:
    """Give torch the card; once per process."""
    register: Callable[..., None] = backend_registration._setup_privateuseone_for_python_backend
    register(NAME, _module())
    _install_autocast()
    torch.__future__.set_swap_module_params_on_conversion(True)  # a module's weights become wrappers in place


HALF = ("linear", "conv2d", "mm", "bmm", "addmm", "baddbmm", "scaled_dot_product_attention")
WHOLE = ("layer_norm", "group_norm")
"""What autocast does on a card in half precision, and what in float32, of all that a training uses."""


def _install_autocast() -> None:
    """Under torch.autocast: products in its number format, norms in float32, all else as it comes."""
    everything = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    everything.fallback(torch.library.fallthrough_kernel)
    some = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    for name in (*HALF, *WHOLE):
        some.impl(name, _in_format(getattr(torch.ops.aten, name), half=name in HALF))
    LIBRARIES.extend((everything, some))


def _in_format(operator: Any, *, half: bool) -> Callable[..., Any]:
    """An operation on tensors of autocast's number format, or float32."""

    def run(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(NAME) if half else torch.float32

        def cast(value: Any) -> Any:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        key = torch._C.DispatchKey.AutocastPrivateUse1  # pyright: ignore[reportAttributeAccessIssue]  # not in its stubs
        keys = torch._C.DispatchKeySet(key)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operator(*tree_map(cast, args), **tree_map(cast, kwargs))

    return run


LIBRARIES: list[Any] = []
"""They hold as long as these objects."""


@contextmanager
def in_use() -> Iterator[torch.device]:
    """Inside, tensors can be put on the card; backward passes run in the calling thread."""
    with (
        mock.patch("torch.tensor", _tensor(torch.tensor)),
        CardMode(),
        torch.autograd.set_multithreading_enabled(False),
    ):
        yield torch.device(NAME, 0)


def _tensor(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.tensor, which asks for a device's memory below what Python can serve."""

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = plain(data, **options)
        return made if device is None else made.to(device)

    return tensor
