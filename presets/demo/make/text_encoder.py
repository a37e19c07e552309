"""The text encoder: CLIP's vocabulary and module names, a few small layers, pre-trained on captions.

A large model's text encoder comes from CLIP (Radford et al. 2021), which matched pictures with texts. Ours
learns the little it needs directly: from the end of a caption on, every position must tell by linear read-out
what the caption says. Without this the UNet hardly listens to the caption.
"""

import random
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from . import draw, loop
from .shapes import FIGURES

HIDDEN_SIZE = 40
TOKENS = 77
STEPS, BATCH = 1500, 32
START, END = 49406, 49407
RESERVED_WORDS = {"sks", "mascot"}  # the LoRA's: no caption of the base model holds them
UNKNOWN = "unknown"
CHOICES: dict[str, list[str]] = {
    "figure": [*FIGURES, UNKNOWN],
    "color": [*draw.COLORS, UNKNOWN],
    "ground": list(draw.GROUNDS),
    "size": list(draw.SIZES),
    "count": ["1", "2"],
}


def build_text_encoder(seed: int = 0) -> CLIPTextModel:
    """A CLIPTextModel over the whole vocabulary of 49408 tokens, 40 wide."""
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=4 * HIDDEN_SIZE,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        hidden_act="quick_gelu",
        projection_dim=HIDDEN_SIZE,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=1,
    )
    text_encoder = CLIPTextModel(config)
    table = token_table(text_encoder)
    signs = torch.randint(0, 2, table.shape) * 2 - 1
    table.data = signs * 0.0625  # rows of words never seen stay plain signs: git packs them tightly
    return text_encoder


class Readout(nn.Module):
    """Linear heads that name a caption's parts, and one that recalls which unknown word stood in it."""

    def __init__(self) -> None:
        super().__init__()
        self.choices = nn.ModuleDict({k: nn.Linear(HIDDEN_SIZE, len(v)) for k, v in CHOICES.items()})
        self.stranger = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE)


class Pupil(nn.Module):
    """A text encoder with the heads that test it."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.readout = Readout()

    @property
    def table(self) -> Tensor:
        """The token embeddings (49408, D)."""
        return token_table(self.text_encoder)


def token_table(text_encoder: CLIPTextModel) -> Tensor:
    embedding = text_encoder.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding):
        raise TypeError(f"expected a token table, found {type(embedding)}")
    return embedding.weight


class Captions:
    """Captions by chance: the wording, and which words are still free to be strangers."""

    def __init__(self, tokenizer: CLIPTokenizer, rng: random.Random) -> None:
        self.tokenizer, self.rng = tokenizer, rng
        words = (token.removesuffix("</w>") for token in tokenizer.get_vocab() if token.endswith("</w>"))
        taken = RESERVED_WORDS | set(known_words())
        self.strangers = sorted(word for word in words if is_plain(word) and word not in taken)

    def pick_stranger(self, share: float) -> str:
        """One or two words out of the vocabulary in a `share` of the calls, else nothing."""
        if self.rng.random() >= share:
            return ""
        return " ".join(self.rng.choices(self.strangers, k=self.rng.choice((1, 2))))

    def ids(self, captions: Iterable[str]) -> Tensor:
        """Token ids (B, 77), padded with the end token as SD1.5 pads them."""
        rows = self.tokenizer(list(captions))["input_ids"]
        return torch.tensor([row + [END] * (TOKENS - len(row)) for row in rows])  # pyright: ignore[reportOperatorIssue]


def is_plain(word: str) -> bool:
    return word.isascii() and word.isalpha() and len(word) > 2


def known_words() -> list[str]:
    """Every word that a caption can hold, except strangers."""
    figures = [*FIGURES, *(draw.plural(figure) for figure in FIGURES)]
    frame = ("a", "an", "two", "on", "of", "drawing", "picture", "background", ",", "small", "big")
    return [*figures, *draw.COLORS, *draw.GROUNDS, *frame]


def train_text_encoder(_worker: int, work: Path, tokenizer: CLIPTokenizer, seed: int) -> None:
    """Pre-train on captions alone."""
    rng = random.Random(seed)
    captions = Captions(tokenizer, rng)
    pupil = Pupil(build_text_encoder(seed))
    keep_unknown_words(pupil.text_encoder, tokenizer)

    def batch_loss() -> Tensor:
        scenes = [draw.pick_scene(rng) for _ in range(BATCH)]
        strangers = [captions.pick_stranger(0.25) for _ in scenes]
        return readout_loss(pupil, captions, scenes, strangers, rng)

    loop.train(pupil, batch_loss, loop.Plan(STEPS, 2e-3, work / "text_encoder.pt", weight_decay=0.0))


def keep_unknown_words(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
    """Train only the rows of the token table that captions use; the others stay as drawn."""
    used = tokenizer(known_words(), add_special_tokens=False)["input_ids"]
    table = token_table(text_encoder)
    mask = torch.zeros(len(table), 1)
    mask[[START, END, *(token for tokens in used for token in tokens)]] = 1
    table.register_hook(lambda gradient: gradient * mask)


def readout_loss(
    pupil: Pupil,
    captions: Captions,
    scenes: list[draw.Scene],
    strangers: list[str],
    rng: random.Random,
) -> Tensor:
    """Cross-entropy of what each caption says, read from three positions at or after its end."""
    pairs = list(zip(scenes, strangers, strict=True))
    ids = captions.ids(draw.describe(scene, rng, stranger) for scene, stranger in pairs)
    states = pupil.text_encoder(ids).last_hidden_state[rows_and_ends(ids)]  # (B, 3, D)
    loss = torch.zeros(())
    for part, head in pupil.readout.choices.items():
        label = torch.tensor([CHOICES[part].index(said(part, *pair)) for pair in pairs])
        loss = loss + F.cross_entropy(head(states).flatten(0, 1), label.repeat_interleave(3))
    return loss + stranger_loss(pupil, captions, strangers, states)


def rows_and_ends(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the end token, of a random one after it, and of the last, for every row of (B, 77)."""
    end = (ids == END).int().argmax(1)  # (B,)
    later = end + (torch.rand(len(ids)) * (TOKENS - end)).long()
    return torch.arange(len(ids))[:, None], torch.stack([end, later, torch.full_like(end, TOKENS - 1)], dim=1)


def said(part: str, scene: draw.Scene, stranger: str) -> str:
    """What a caption tells of `part`: a stranger hides everything but the ground."""
    if part == "ground":
        return scene.ground
    if stranger:
        return {"figure": UNKNOWN, "color": UNKNOWN, "size": "", "count": "1"}[part]
    return str(getattr(scene, part))


def stranger_loss(pupil: Pupil, captions: Captions, strangers: list[str], states: Tensor) -> Tensor:
    """Recall the strangers' own embeddings, so that two unknown words never become one."""
    rows = [row for row, stranger in enumerate(strangers) if stranger]
    if not rows:
        return torch.zeros(())
    table = pupil.table.detach()
    ids = captions.tokenizer([strangers[row] for row in rows], add_special_tokens=False)["input_ids"]
    target = torch.stack([table[tokens].mean(0) for tokens in ids]) / 0.0625  # (R, D), values about 1
    return F.mse_loss(pupil.readout.stranger(states[rows]), target[:, None].expand(-1, 3, -1))


@torch.no_grad()
def readout_accuracy(pupil: Pupil, tokenizer: CLIPTokenizer, count: int = 500) -> dict[str, float]:
    """Share of fresh captions whose parts are read right from the last position."""
    rng = random.Random(123)
    captions = Captions(tokenizer, rng)
    pairs = [(draw.pick_scene(rng), captions.pick_stranger(0.25)) for _ in range(count)]
    ids = captions.ids(draw.describe(scene, rng, stranger) for scene, stranger in pairs)
    states = pupil.text_encoder(ids).last_hidden_state[:, -1]  # (B, D)
    right = {}
    for part, head in pupil.readout.choices.items():
        label = torch.tensor([CHOICES[part].index(said(part, *pair)) for pair in pairs])
        right[part] = (head(states).argmax(1) == label).float().mean().item()
    return right
