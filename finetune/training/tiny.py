"""A tiny multimodal model from nothing: tokenizer, processor, configuration and random weights.

The architecture is Idefics3 (that of SmolVLM), which every engine loads without torchvision. Sizes
are chosen for two CPU cores and 16 MiB.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import Idefics3ImageProcessorPil, PreTrainedTokenizerFast
from transformers.models.idefics3.configuration_idefics3 import Idefics3Config
from transformers.models.idefics3.modeling_idefics3 import Idefics3ForConditionalGeneration
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.trainer_utils import set_seed

from mllm_srec.finetune.training.copying_start import start_copying
from mllm_srec.llm.pictures import PictureBudget, save_budget
from mllm_srec.llm.transformers_model import quiet_transformers

BOS, PAD, END = "<|im_start|>", "<|endoftext|>", "<end_of_utterance>"
SPECIAL = (PAD, BOS, END, "<fake_token_around_image>", "<image>", "<global-img>")
WORDS = ("System", "User", "Assistant", "Yes", "No")
"""What the chat template and the scoring need as one token each."""

# Texts beyond so many say nothing new about which words are frequent.
_TOKENIZER_TEXTS = 40_000

CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)

_GLUED = 150
_RUNNING = re.compile(r"(?<=[a-z]) ([a-z]+)(?![A-Za-z])")
_WORD = re.compile(r"[a-z]+")
_COPIED = re.compile(r'"([a-z]+)"(?!:)')


@dataclass(frozen=True, slots=True)
class TinyConfig:
    """Sizes of a model from scratch."""

    vocab_size: int = 4096
    hidden_size: int = 256
    layers: int = 6
    heads: int = 4
    intermediate_size: int = 640
    max_positions: int = 4096
    vision_hidden_size: int = 192
    vision_layers: int = 4
    vision_heads: int = 6
    vision_intermediate_size: int = 512
    image_side: int = 96
    """Pixels; pictures come prepared in exactly this size."""
    patch_size: int = 12
    """Pixels."""
    scale_factor: int = 2
    """So many patches a side make one picture token."""
    initializer_range: float = 0.03

    def __post_init__(self) -> None:
        step = self.patch_size * self.scale_factor
        if self.image_side % step:
            raise ValueError(
                f"image_side={self.image_side} must be a multiple of "
                f"patch_size * scale_factor={step}"
            )

    @property
    def picture_tokens(self) -> int:
        """Tokens of one picture in the text model."""
        return (self.image_side // self.patch_size // self.scale_factor) ** 2


def running_words(texts: Iterable[str], limit: int = _GLUED) -> list[str]:
    """The words of running text, which mostly follow another word: `the`, `user`, `of`.

    A word that ever is a whole text in JSON, or that mostly stands alone, is not among them: it is
    a value to be copied, and must have the same tokens wherever it stands.
    """
    running: Counter[str] = Counter()
    total: Counter[str] = Counter()
    copied: set[str] = set()
    for text in texts:
        running.update(_RUNNING.findall(text))
        total.update(_WORD.findall(text))
        copied.update(_COPIED.findall(text))
    often = [
        (word, n)
        for word, n in running.items()
        if n >= 0.5 * total[word] and n >= 8 and word not in copied
    ]
    return [word for word, _ in sorted(often, key=lambda pair: (-pair[1], pair[0]))[:limit]]


def make_tokenizer(
    texts: Sequence[str], vocab_size: int = 4096, *, min_frequency: int = 60
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer for short texts and compact JSON.

    A run of punctuation and the space after it is one token (`":{"`, `, `), a digit is one token,
    and a word has no space in its token unless it is one of `running_words`: so copying a word,
    also one never seen, is copying tokens.

    Args:
        texts: Rendered prompts and answers.
        vocab_size: At most so many tokens, the special ones and the 256 bytes included.
        min_frequency: A pair is merged only if it occurs so often; rarer words stay in pieces, of
            which each is met often enough to be learned.
    """
    texts = texts[:: 1 + len(texts) // _TOKENIZER_TEXTS]
    glued = "|".join(running_words(texts))
    pattern = (f" (?:{glued})(?!\\p{{L}})|" if glued else "") + (
        r"\p{Lu}?\p{Ll}+|\p{Lu}+(?!\p{Ll})|\p{L}|\p{N}|[^\s\p{L}\p{N}]+ ?|\s"
    )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*texts, *WORDS * len(texts)], trainer)
    kind: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerFast = kind(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(SPECIAL[3:]),
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    return made


def make_processor(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> Idefics3Processor:
    """Join a tokenizer with a picture processor that only rescales and normalises."""
    side = {"longest_edge": config.image_side}
    pictures = Idefics3ImageProcessorPil(
        do_image_splitting=False, do_resize=False, size=side, max_image_size=side
    )
    return Idefics3Processor(
        pictures, tokenizer, image_seq_len=config.picture_tokens, chat_template=CHAT_TEMPLATE
    )


def _text_config(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_positions,
        initializer_range=config.initializer_range,
        # Slow enough that the slowest frequencies hardly turn over a prompt of 500 tokens.
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        # Must be true here as well as above, or vLLM leaves the output layer unset.
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def make_model(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig, *, seed: int = 0
) -> Idefics3ForConditionalGeneration:
    """Build the model with random weights, in float32.

    Raises:
        ValueError: The tokenizer has more tokens than the configuration.
    """
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, the configuration {config.vocab_size}: "
            "raise vocab_size or train a smaller tokenizer"
        )
    vision: dict[str, Any] = {
        "hidden_size": config.vision_hidden_size,
        "intermediate_size": config.vision_intermediate_size,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.vision_heads,
        "image_size": config.image_side,
        "patch_size": config.patch_size,
        "initializer_range": config.initializer_range,
    }
    set_seed(seed)
    kind: Any = Idefics3ForConditionalGeneration
    settings: Any = Idefics3Config
    model: Idefics3ForConditionalGeneration = kind(
        settings(
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            tie_word_embeddings=True,
            vision_config=vision,
            text_config=_text_config(tokenizer, config),
            scale_factor=config.scale_factor,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    _start_like_trained(model.model.vision_model)
    start_copying(model.model.text_model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    return model


def _start_like_trained(vision: nn.Module) -> None:
    """Give the vision part the attention that trained ones have: to like patches, and to near ones.

    "Mimetic initialization" (Trockman and Kolter 2023): a transformer from scratch on a thousand
    pictures otherwise spends most of its time on learning that neighbours belong together.
    """
    places: Any = vision.embeddings
    across = places.num_patches_per_side
    width = places.embed_dim
    rows, columns = torch.meshgrid(torch.arange(across), torch.arange(across), indexing="ij")
    speeds = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    waves = [
        wave(place.flatten()[:, None] * speeds)
        for place in (rows, columns)
        for wave in (torch.sin, torch.cos)
    ]
    with torch.no_grad():
        places.position_embedding.weight.copy_(0.3 * torch.cat(waves, 1))
        encoder: Any = vision.encoder
        for layer in encoder.layers:
            attention = layer.self_attn
            each = width // attention.num_heads
            for start in range(0, width, each):
                left, right = _factors(0.7, 0.7, width, each)
                attention.q_proj.weight[start : start + each] = left.T
                attention.k_proj.weight[start : start + each] = right
            left, right = _factors(0.4, -0.4, width, width)
            attention.v_proj.weight.copy_(right)
            attention.out_proj.weight.copy_(left)


def _factors(noise: float, diagonal: float, width: int, rank: int) -> tuple[Tensor, Tensor]:
    """Two matrices (width, rank) and (rank, width) whose product is nearly a diagonal and noise."""
    whole = noise * torch.randn(width, width) / width**0.5 + diagonal * torch.eye(width)
    left, values, right = torch.linalg.svd(whole)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def write_scratch(folder: Path, texts: Sequence[str], config: TinyConfig, *, seed: int = 0) -> None:
    """Write a model folder to start from: random weights, a tokenizer of these texts, a processor.

    Args:
        folder: Made when missing.
        texts: Rendered prompts and answers; the tokenizer is trained on them.
        config: Sizes.
        seed: For the weights.
    """
    quiet_transformers()
    tokenizer = make_tokenizer(texts, config.vocab_size)
    model = make_model(tokenizer, config, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    make_processor(tokenizer, config).save_pretrained(folder)
    save_budget(folder, PictureBudget(config.image_side, square=True))
