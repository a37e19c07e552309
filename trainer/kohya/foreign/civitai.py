"""The parameters of Civitai's own trainer, as its site shows and copies them: a flat JSON."""

from __future__ import annotations

from trainer.kohya.foreign.taken import Flat, Taken

NAMES = {
    "unetLR": "unet_lr", "textEncoderLR": "text_encoder_lr", "clipSkip": "clip_skip",
    "keepTokens": "keep_tokens", "networkDim": "network_dim", "networkAlpha": "network_alpha",
    "minSnrGamma": "min_snr_gamma", "noiseOffset": "noise_offset", "maxTrainEpochs": "max_train_epochs",
    "trainBatchSize": "train_batch_size", "lrSchedulerNumCycles": "lr_scheduler_num_cycles",
}  # fmt: skip
SWITCHES = {
    "enableBucket": "enable_bucket", "shuffleCaption": "shuffle_caption", "flipAugmentation": "flip_aug",
}  # fmt: skip
MARKS = {"networkDim", "unetLR"}
"""Keys that no other program has together."""


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    reading = Taken(flat)
    reading.take_all(NAMES)
    for key, option in SWITCHES.items():
        reading.switch(option, key)
    reading.sizes("resolution")
    reading.optimizer("optimizerType")
    reading.schedule("lrScheduler")
    reading.used |= {"engine", "targetSteps"}  # what it counts from the others
    if reading.word("loraType") == "lora":
        reading.used.add("loraType")
    return reading
