"""Fourth stage of a run: what it leaves. LoRA files, training states, sample pictures, and its judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.files.hub import Uploader
from trainer.files.own_files import OwnFiles
from trainer.files.redact import redacted
from trainer.judge.copying import Gallery
from trainer.judge.points import JudgePlan
from trainer.network.lora_file import DTYPES
from trainer.plan import sample_text
from trainer.plan.sample_prompts import prompts
from trainer.plan.state_facts import facts_for_state
from trainer.training.encode import Encoded
from trainer.training.judging import Judge, looks_at
from trainer.training.keeper import StateKeeper
from trainer.training.learner import Learner
from trainer.training.metadata import RunFacts, build_metadata
from trainer.training.optimizer import finished_weights
from trainer.training.prepare import Run
from trainer.training.sampling import SampleMaker
from trainer.training.saving import Saver


@dataclass(frozen=True)
class Results:
    """What writes a run's files."""

    saver: Saver
    keeper: StateKeeper
    sampler: SampleMaker
    judge: Judge


def build_results(run: Run, encoded: Encoded, learner: Learner) -> Results:
    """Saver, states, samples and judge of a run."""
    keeper = build_keeper(run, learner)
    return Results(
        build_saver(run, encoded, learner, keeper),
        keeper,
        build_sample_maker(run, encoded, learner),
        build_judge(run, encoded, learner),
    )


def build_keeper(run: Run, learner: Learner) -> StateKeeper:
    """What keeps training states."""
    # A state knows the run's name, so that Continue goes on under it.
    name = run.plan.final_name.removesuffix(f".{run.settings.saving.save_model_as}")
    facts = facts_for_state(run.settings, run.data.images, run.data.datasets)
    return StateKeeper(
        network=learner.network,
        optimizer=learner.optimizer,
        lr_scheduler=learner.lr_scheduler,
        scaler=run.accelerator.scaler,
        facts={"seed": run.seed, "name": name, "settings": run.settings.flat(), **facts},
        safety_folder=run.job.safety_state,
        every_seconds=run.settings.saving.safety_state_minutes * 60,
        emit=run.emit,
    )


def build_saver(run: Run, encoded: Encoded, learner: Learner, keeper: StateKeeper) -> Saver:
    """What writes the LoRA's files."""
    settings, saving = run.settings, run.settings.saving
    facts = RunFacts(
        settings,
        run.plan,
        run.data.images,
        encoded.model,
        run.seed,
        learner.network.targets,
        learner.optimizer_name,
        datasets=run.data.datasets,
    )
    return Saver(
        network=learner.network,
        plan=run.plan,
        output_dir=Path(settings.folders.output_dir),
        extension=f".{saving.save_model_as}",
        dtype=DTYPES[saving.save_precision],
        # At each saving: steps and times differ. Redacted: files are shared, keys and home folders are not.
        metadata=lambda position: redacted(build_metadata(facts, position)),
        keeper=keeper,
        with_state=saving.save_state,
        state_at_end=saving.save_state or saving.save_state_on_train_end,
        emit=run.emit,
        uploader=Uploader(saving, run.emit),
        # A job that begins owns nothing yet: whatever stands there is somebody else's.
        own=run.job.own_files() if run.again else OwnFiles(),
    )


def build_sample_maker(run: Run, encoded: Encoded, learner: Learner) -> SampleMaker:
    """What draws the sample pictures."""
    model = encoded.model
    # Each once, in order; to be near a regularisation picture is no copying.
    learned = list({image.path: None for image in run.data.images if not image.is_reg})

    @contextmanager
    def inference() -> Iterator[None]:
        try:
            # Dropouts off, finished weights: the picture that the file will make.
            with at_rest(run, encoded, learner):
                yield
        finally:
            if encoded.latents:  # nothing but samples asks the VAE: its memory is the training's again
                model.free("vae")

    return SampleMaker(
        model=model,
        prompts=prompts(run.settings.sampling.sample_prompts, model.family),
        steps=frozenset(run.plan.sample_steps),
        sampler=run.settings.sampling.sample_sampler,
        seed=0,
        encode=encoded.captions.for_sample,
        inference=inference,
        folder=run.job.samples,
        emit=run.emit,
        interrupted=run.job.stop_requested,
        about={
            "Model": Path(run.settings.model.pretrained_model_name_or_path).stem,
            sample_text.LORA: run.plan.final_name.rpartition(".")[0],
            sample_text.RUN: run.job.path.name,
        },
        gallery=Gallery.of(learned) if run.plan.judging and run.plan.sample_steps else None,
    )


@contextmanager
def at_rest(run: Run, encoded: Encoded, learner: Learner) -> Iterator[None]:
    """Inside, model, LoRA and optimizer are as in use, not as in training."""
    denoiser, network = encoded.model.denoiser, learner.network
    # Gradient checkpointing needs training mode, and nothing else does: put back as it was.
    training = denoiser.training
    network.eval()
    denoiser.eval()
    try:
        with run.accelerator.autocast(), finished_weights(learner.optimizer):
            yield
    finally:
        network.train()
        denoiser.train(training)


def build_judge(run: Run, encoded: Encoded, learner: Learner) -> Judge:
    """What judges the run; nothing where no pictures are kept back ("Validation split")."""
    planned, pictures = run.plan.judging or JudgePlan(()), encoded.judged
    return Judge(
        model=encoded.model,
        network=learner.network,
        encode=encoded.captions.as_it_stands,
        inference=lambda: at_rest(run, encoded, learner),
        emit=run.emit,
        steps=frozenset(planned.steps),
        per_epoch=run.plan.steps_per_epoch,
        held_out=looks_at(encoded.model, pictures.held_out, planned.pairs),
        learned=looks_at(encoded.model, pictures.learned, planned.pairs),
        prompts=run.material.prompts,
        size=pictures.size,
        batch_size=run.plan.batch_size,
        may_stop=run.settings.validation.stop_at_best,
    )
