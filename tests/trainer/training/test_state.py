"""Training states: as written they are put back exactly; anything else is refused before it does harm."""

from __future__ import annotations

import io
import json
import resource
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.runs import short_settings
from trainer.errors import UserError
from trainer.files.job_folder import JobFolder, find_state
from trainer.files.whole_file import write_whole
from trainer.messages import LANGUAGES, say
from trainer.plan.inputs import read_inputs
from trainer.preflight import resume
from trainer.settings import Settings
from trainer.training.build import Parts, build_parts
from trainer.training.loop import train
from trainer.training.position import Position
from trainer.training.rng import seed_everything
from trainer.training.state import load_state, random_states

MOST_MEMORY = 300_000_000
"""Bytes that reading any bad state of this file may take."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Parts, Path]:
    """Settings, the parts of a finished run of two steps, and the state that it left."""
    folder = tmp_path_factory.mktemp("run")
    settings = short_settings(folder, max_train_steps=2, save_state=True, lr_scheduler="cosine", lr_warmup=0)
    parts = build_parts(read_inputs(settings), JobFolder.create(folder, settings), lambda _: None)
    train(parts, lambda _: None, lambda: False)
    return settings, parts, folder / "out" / "mascot-state"


@pytest.fixture
def state(run: tuple[Settings, Parts, Path], tmp_path: Path) -> Path:
    """A copy of that state, to be spoiled."""
    return Path(shutil.copytree(run[2], tmp_path / "mascot-state"))


def test_a_state_is_put_back_as_it_was(run: tuple[Settings, Parts, Path]):
    _, parts, folder = run
    weights = {name: tensor.clone() for name, tensor in parts.network.state().items()}
    optimizer = json.dumps(_sums(parts.optimizer.state_dict()))
    drawn = random_states()["torch"]
    for weight in parts.network.parameters():
        weight.data.fill_(7.0)
    parts.optimizer.state.clear()
    seed_everything(3)
    assert parts.keeper.restore(folder).step == 2
    assert all(torch.equal(tensor, weights[name]) for name, tensor in parts.network.state().items())
    assert json.dumps(_sums(parts.optimizer.state_dict())) == optimizer
    assert torch.equal(random_states()["torch"], drawn)
    assert all(weight.grad is None for weight in parts.network.parameters())


def _sums(content: Any) -> Any:
    """Plain data with each tensor as the sum of its numbers."""
    if isinstance(content, torch.Tensor):
        return float(content.double().sum())
    if isinstance(content, dict):
        return {str(key): _sums(value) for key, value in content.items()}
    return [_sums(value) for value in content] if isinstance(content, (list, tuple)) else content


def about(**changes: Any) -> Callable[[Path], None]:
    """Change state.json; a change of None takes the entry out."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "state.json").read_text())
        for key, value in changes.items():
            home = content["position"] if key in content["position"] else content
            home[key] = value
            if value is None:
                del home[key]
        (folder / "state.json").write_text(json.dumps(content))

    return change


def with_text(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "state.json").write_text(text)


def saved_by_torch(name: str, edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Replace what a file holds by what `edit` makes of it."""

    def change(folder: Path) -> None:
        torch.save(edit(torch.load(folder / name, weights_only=True)), folder / name)

    return change


def kept(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Replace all that optimizer.pt holds."""
    return saved_by_torch("optimizer.pt", edit)


def _edited(content: Any, part: Any, edit: Callable[[Any], Any]) -> Any:
    edit(part)
    return content


def optimizer(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the optimizer's own part of it."""
    return kept(lambda content: _edited(content, content["optimizer"], edit))


def moments(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change what the optimizer keeps for the first weights."""
    return kept(lambda content: _edited(content, content["optimizer"]["state"][0], edit))


def drawn(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the random states."""
    return saved_by_torch("random.pt", lambda content: _edited(content, content, edit))


def network(edit: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """Change the weights."""

    def change(folder: Path) -> None:
        tensors = load_file(folder / "network.safetensors")
        edit(tensors)
        save_file(tensors, folder / "network.safetensors")

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-999])


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def packed(folder: Path) -> None:
    """40 MB of zeros in 40 kB."""
    buffer = io.BytesIO()
    zeros = {"state": {0: {"exp_avg": torch.zeros(10_000_000)}}, "param_groups": []}
    torch.save({"optimizer": zeros, "lr_scheduler": {"last_epoch": 2}, "scaler": {}}, buffer)
    with (
        zipfile.ZipFile(buffer) as plain,
        zipfile.ZipFile(folder / "optimizer.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as tight,
    ):
        for part in plain.infolist():
            tight.writestr(part.filename, plain.read(part))


def asks_for_memory(folder: Path) -> None:
    """A pickle of 30 bytes that makes room for two gigabytes."""
    with zipfile.ZipFile(folder / "optimizer.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x70\x85R.")
        archive.writestr("archive/version", "3\n")


def lists_of_lists(depth: int) -> list[Any]:
    """A few bytes that are 2^depth values once they are copied one by one."""
    found: list[Any] = [0]
    for _ in range(depth):
        found = [found, found]
    return found


def one(tensors: dict[str, torch.Tensor]) -> str:
    return next(iter(tensors))


FILES = ("network.safetensors", "optimizer.pt", "random.pt")
SEEN: dict[str, Callable[[Path], object]] = {
    **{f"step {step!r}": about(step=step) for step in (-5, 2.5, 10**30, "3", True, None, [2], 10**12)},
    **{f"epoch {epoch!r}": about(epoch=epoch) for epoch in (0, "1", 1.0, None)},
    **{f"seed {seed!r}": about(seed=seed) for seed in ("x", -1, 2**32, None, 1.5)},
    **{
        f"name {name[:9]!r}": about(name=name)
        for name in ("../models/x", "a/b", "a\\b", "C:x", "..", "/etc/x", "x\x00y", "x" * 5000, " . ")
    },
    "name that is a list": about(name=["x"]),
    "settings that are a list": about(settings=[]),
    "settings in settings": about(settings={"network_dim": {"a": 1}}),
    "no position": about(position=None),
    "position that is a text": with_text('{"format": 1, "position": "x", "seed": 1}'),
    "format that is true": about(format=True),
    "no format": about(format=None),
    "depth": with_text("[" * 100_000),
    "a list": with_text("[1]"),
    "not a number": with_text('{"format": 1, "position": {"step": NaN, "epoch": 1, "batch": 0}, "seed": 1}'),
    "a key twice": with_text('{"format": 1, "format": 1}'),
    "zeros": lambda folder: (folder / "state.json").write_bytes(bytes(500)),
    **{f"no {name}": lambda folder, name=name: (folder / name).unlink() for name in FILES},
    **{f"{name} cut": lambda folder, name=name: cut(folder / name) for name in FILES},
    **{
        f"{name} zeroed": lambda folder, name=name: (folder / name).write_bytes(bytes(5000)) for name in FILES
    },
    "a folder in place of a file": lambda folder: as_folder(folder / "optimizer.pt"),
    "packed": packed,
    "asks for memory": asks_for_memory,
    "optimizer a list": kept(lambda _: [1, 2]),
    "nothing": kept(lambda _: {}),
    "no groups": optimizer(lambda own: own.pop("param_groups")),
    "groups a text": optimizer(lambda own: own.update(param_groups="y")),
    "entries a text": optimizer(lambda own: own["state"].update({0: "x"})),
    "entries of nobody": optimizer(lambda own: own["state"].update({9999: {}})),
    "moments larger than the file": moments(lambda own: own.update(exp_avg=torch.ones(1).expand(9**7, 9**7))),
    "nothing for one weight": optimizer(lambda own: own["state"].pop(3)),
    "nothing of one weight": optimizer(lambda own: own["state"][3].clear()),
    "nothing for any weight": optimizer(lambda own: own["state"].clear()),
    "moments of one weight gone": optimizer(lambda own: own["state"][3].pop("exp_avg_sq")),
    "moments of one weight longer": optimizer(lambda own: own["state"][3].update(exp_avg=torch.zeros(3, 5))),
    "moments a number": optimizer(lambda own: own["state"][3].update(exp_avg=0.5)),
    "more than one keeps": optimizer(lambda own: own["state"][3].update(more=torch.zeros(1))),
    "schedule a number": kept(lambda all_: {**all_, "lr_scheduler": 5}),
    "schedule ahead": kept(lambda all_: {**all_, "lr_scheduler": {"last_epoch": 10**9}}),
    "schedule a text": kept(lambda all_: {**all_, "lr_scheduler": {"last_epoch": "2"}}),
    "scaler without end": kept(lambda all_: {**all_, "scaler": {"scale": torch.inf}}),
    "scaler a text": kept(lambda all_: {**all_, "scaler": {"scale": "x"}}),
    "random nothing": drawn(dict.clear),
    "random torch fractions": drawn(lambda states: states.update(torch=torch.zeros(3))),
    "random torch short": drawn(lambda states: states.update(torch=torch.zeros(9, dtype=torch.uint8))),
    "random python short": drawn(lambda states: states["python"].__setitem__(1, torch.zeros(3).long())),
    "random python fractions": drawn(lambda states: states["python"].__setitem__(1, torch.zeros(625))),
    "random numpy beyond": drawn(lambda states: states["numpy"].__setitem__(2, 10**9)),
    "random numpy short": drawn(lambda states: states["numpy"].__setitem__(1, torch.zeros(3).long())),
    "entries that are a key": kept(lambda all_: {**all_, "scaler": {(1, "x"): "y"}}),
    "weights without end": optimizer(lambda own: own["param_groups"][0].update(params=[0] * 10**7)),
    "lists of lists": moments(lambda own: own.update(more=lists_of_lists(60))),
    "lists of lists by group": optimizer(lambda own: own["param_groups"][0].update(x=lists_of_lists(60))),
    "random lists of lists": drawn(lambda states: states.update(more=lists_of_lists(60))),
    "a program": kept(lambda all_: {**all_, "scaler": {"scale": complex(1, 2)}}),
    "random a graphics card's": drawn(lambda states: states.update(cuda=[5])),
    "random torch a text": drawn(lambda states: states.update(torch="x")),
}  # fmt: skip
"""What shows without torch."""
INSIDE: dict[str, Callable[[Path], None]] = {
    "no group": optimizer(lambda own: own["param_groups"].clear()),
    "moments of another size": moments(lambda own: own.update(exp_avg=torch.zeros(3, 5))),
    "moments a text": moments(lambda own: own.update(exp_avg="x")),
    "moments missing": moments(lambda own: own.pop("exp_avg")),
    "moments no numbers": moments(lambda own: own["exp_avg"].fill_(torch.nan)),
    "foreach a text": optimizer(lambda own: own["param_groups"][0].update(foreach="x")),
    "betas a text": optimizer(lambda own: own["param_groups"][0].update(betas="yy")),
    "weights of another shape": network(lambda tensors: tensors.update({one(tensors): torch.zeros(1)})),
    "weights missing": network(lambda tensors: tensors.pop(one(tensors))),
    "weights too many": network(lambda tensors: tensors.update(more=torch.zeros(1))),
    "weights no numbers": network(lambda tensors: tensors[one(tensors)].fill_(torch.nan)),
    "weights whole": network(lambda tensors: tensors.update({one(tensors): tensors[one(tensors)].long()})),
}  # fmt: skip


@pytest.fixture
def little_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY


def damaged(call: Callable[[], object]) -> None:
    """The call ends in the sentence about damaged states."""
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.message.code == "training.state_damaged", caught.value.__cause__
    assert caught.value.setting == "resume"
    for language in LANGUAGES:
        assert say(caught.value.message, language).fix


@pytest.mark.parametrize("lie", SEEN)
def test_what_no_run_has_written_is_told_before_anything_is_loaded(
    run: tuple[Settings, Parts, Path], state: Path, little_memory: None, lie: str
):
    SEEN[lie](state)
    damaged(lambda: load_state(state))
    problems = [*resume.check(run[0].replace(resume=str(state)))]
    assert [(one.code, one.blocks) for one in problems] == [("training.state_damaged", True)]


@pytest.mark.parametrize("lie", INSIDE)
def test_what_no_run_can_use_is_refused(
    run: tuple[Settings, Parts, Path], state: Path, little_memory: None, lie: str
):
    INSIDE[lie](state)
    about(kept_for=None)(state)  # as of before, when a state did not tell what it keeps
    damaged(lambda: run[1].keeper.restore(state))


@pytest.mark.parametrize(
    "option",
    [{"maximize": True}, {"weight_decay": 9.0}, {"betas": (0.1, 0.2)}, {"capturable": True},
     {"amsgrad": True}, {"differentiable": True}, {"eps": -1.0}],
    ids=str,
)  # fmt: skip
def test_how_the_optimizer_works_is_not_taken_from_a_state(
    run: tuple[Settings, Parts, Path], state: Path, option: dict[str, Any]
):
    groups = run[1].optimizer.param_groups
    before = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    optimizer(lambda own: [group.update(option) for group in own["param_groups"]])(state)
    assert run[1].keeper.restore(state).step == 2
    after = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    assert after == before


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "SGDNesterov", "optimizer_args": "momentum=0 nesterov=False"},
        {"optimizer": "AdamW", "max_train_steps": 1},
        {"optimizer": "Adafactor"},
        {"optimizer": "Prodigy"},
        {"LoRA_type": "Standard", "unet_lr": 1e-4, "text_encoder_lr": 1e-4, "clip_skip": 2},
        {"down_lr_weight": "0,0,0,0,0,0,1,1,1,1,1,1", "unet_lr": 1e-4},
    ],
    ids=lambda changed: next(iter(changed.values())) if "optimizer" in changed else "-".join(changed),
)
def test_weights_without_a_state_of_their_own_are_no_damage(tmp_path: Path, changed: dict[str, Any]):
    """Nothing kept at all, one step, weights that no step has changed: what the run wrote is what is read."""
    chosen = {"max_train_steps": 2, "save_state": True, **changed}
    settings = short_settings(tmp_path, **chosen)
    parts = build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), lambda _: None)
    train(parts, lambda _: None, lambda: False)
    state = tmp_path / "out" / "mascot-state"
    assert not [*resume.check(settings.replace(resume=str(state)))]
    assert parts.keeper.restore(state).step == chosen["max_train_steps"]


def test_a_state_of_before_that_does_not_tell_what_it_keeps_is_read(
    run: tuple[Settings, Parts, Path], state: Path
):
    about(kept_for=None)(state)
    assert not [*resume.check(run[0].replace(resume=str(state)))]
    assert run[1].keeper.restore(state).step == 2


def test_an_optimizer_larger_than_any_is_not_read(state: Path):
    size = (state / "optimizer.pt").stat().st_size
    assert load_state(state, size)[0].step == 2
    with pytest.raises(UserError):
        load_state(state, size - 1)


def test_a_state_of_another_version_says_so(state: Path):
    about(format=2)(state)
    with pytest.raises(UserError) as caught:
        load_state(state)
    assert caught.value.message.code == "training.state_version"


def test_weights_that_are_no_numbers_replace_no_state_and_no_file(run: tuple[Settings, Parts, Path]):
    _, parts, folder = run
    place = Position(2, 1, 2)
    parts.keeper.restore(folder)
    parts.keeper.save(parts.keeper.safety_folder, place, "safety")
    out = folder.parent
    before = read((out, parts.keeper.safety_folder))
    next(iter(parts.network.parameters())).data[0] = torch.inf
    parts.keeper.mark(Position(3, 1, 3))
    for save in (
        lambda: parts.keeper.save(parts.keeper.safety_folder, place, "safety"),
        lambda: parts.saver.save_final(place),
        lambda: parts.saver.save_stopped(place),
    ):
        with pytest.raises(UserError) as caught:
            save()
        assert caught.value.message.code == "training.weights_not_finite"
    parts.keeper.save_good()
    assert read((out, parts.keeper.safety_folder)) == before
    parts.keeper.restore(parts.keeper.safety_folder)


def read(folders: tuple[Path, ...]) -> dict[Path, bytes]:
    """Every file below, with its content."""
    return {path: path.read_bytes() for home in folders for path in home.rglob("*") if path.is_file()}


def test_at_any_moment_of_replacing_a_state_one_of_the_two_is_there(
    run: tuple[Settings, Parts, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The process ends before each renaming and removing in turn, also where it had ended before."""
    keeper, place = run[1].keeper, tmp_path / "state"
    keeper.restore(run[2])
    keeper.save(place, Position(2, 1, 1), "state")
    for moment in range(8):
        ends_at(monkeypatch, moment)
        with suppress(KeyboardInterrupt):
            keeper.save(place, Position(3 + moment, 1, 1), "state")
        monkeypatch.undo()
        found = find_state(place)
        assert found, moment
        assert load_state(found)[0].step in range(2, 4 + moment)
    keeper.save(place, Position(20, 1, 1), "state")
    assert load_state(place)[0].step == 20
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def ends_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """End in place of the renaming or removing of a folder that comes after `moment` others."""
    left = [moment]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*words: Any, **options: Any) -> Any:
            if Path(str(words[0])).is_dir():
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            return real(*words, **options)

        return act

    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr("trainer.training.state.shutil.rmtree", counted(shutil.rmtree))


def test_a_file_that_another_program_holds_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Windows: a scanner for viruses has just opened it."""
    refusals, real = [0], Path.replace

    def replace(self: Path, target: Path) -> Path:
        refusals[0] += 1
        if refusals[0] <= 2:
            raise PermissionError(13, "used by another process")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_whole(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
