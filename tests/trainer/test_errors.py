"""Which errors mean that memory ran out."""

from __future__ import annotations

import errno

import pytest

from trainer.errors import UserError, is_out_of_memory
from trainer.jobs.run import USER, explain


def sentence_about(error: Exception) -> UserError:
    """What a reader of files makes of any error."""
    said = UserError("core.folder_damaged", path="model", reason=str(error))
    said.__cause__ = error
    return said


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory", "model.safetensors"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
    ],
)
def test_memory_that_ran_out_is_known_under_whatever_was_said_since(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert is_out_of_memory(sentence_about(error))
    failed, code = explain(sentence_about(error))
    assert (failed.code, failed.setting, code) == ("training.out_of_memory", "train_batch_size", USER)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "model.safetensors"),
        RuntimeError("could not create a primitive descriptor for a convolution"),
        UserError("training.out_of_memory"),
    ],
)
def test_other_errors_are_no_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert explain(sentence_about(error))[0].code == "core.folder_damaged"
