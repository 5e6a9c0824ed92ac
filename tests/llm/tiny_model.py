"""A random-weight Idefics3 on disk, with tokenizer, processor and chat template."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

SIDE = 96
PATCH = 8
SCALE = 3
IMAGE_TOKENS = (SIDE // PATCH // SCALE) ** 2
CONTEXT = 1024
SPECIAL = (
    "<|pad|>",
    "<|im_start|>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = (
    'Yes No {"what": "stroller", "seen": ["red", "striped"], "told": ["cotton", "budget"]}',
    "Would the user like the item next? Answer Yes or No.",
    "Profile of the user: loves red sporty shoes; dislikes plastic toys. Item: a blue ball",
    "What does the picture show? You are a recommendation assistant.",
    "system user assistant",
)


def make_tokenizer() -> Any:
    """A byte-level BPE tokenizer over a few strings; any text can be written in it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        CORPUS * 4,
        trainers.BpeTrainer(
            vocab_size=512,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    wrap: Any = PreTrainedTokenizerFast
    tokenizer = wrap(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<end_of_utterance>",
        additional_special_tokens=[
            "<|im_start|>",
            "<fake_token_around_image>",
            "<image>",
            "<global-img>",
        ],
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_tiny_model(folder: Path, *, seed: int = 0, hidden: int = 64, layers: int = 2) -> Path:
    """Write a model that every engine loads; its answers are noise, but always the same noise."""
    tokenizer = make_tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    vocab = len(tokenizer)
    config = Idefics3Config(
        text_config=LlamaConfig(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 32,
            num_key_value_heads=hidden // 32,
            head_dim=32,
            max_position_embeddings=CONTEXT,
            # vLLM reads the tie from here; without it its output layer stays unset, silently.
            tie_word_embeddings=True,
            pad_token_id=ids["<|pad|>"],
            eos_token_id=ids["<end_of_utterance>"],
            bos_token_id=ids["<|im_start|>"],
            # Wider, and the rounding of bfloat16 would change log-probabilities by more than .1.
            initializer_range=0.025,
        ),
        vision_config=Idefics3VisionConfig(
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=PATCH,
            initializer_range=0.1,
        ),
        image_token_id=ids["<image>"],
        scale_factor=SCALE,
        tie_word_embeddings=True,
        pad_token_id=ids["<|pad|>"],
    )
    torch.manual_seed(seed)
    build: Any = Idefics3ForConditionalGeneration
    model = build(config).to(torch.float32)
    with torch.no_grad():
        # As strong as words: at the usual spread a picture hardly moves the answer.
        model.model.connector.modality_projection.proj.weight.mul_(8.0)
    model.generation_config.eos_token_id = ids["<end_of_utterance>"]
    model.generation_config.pad_token_id = ids["<|pad|>"]
    model.save_pretrained(folder)
    Idefics3Processor(
        Idefics3ImageProcessorPil(
            do_image_splitting=False,
            size={"longest_edge": SIDE},
            max_image_size={"longest_edge": SIDE},
        ),
        tokenizer,
        image_seq_len=IMAGE_TOKENS,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    (folder / "picture_budget.json").write_text(json.dumps({"side": SIDE, "square": True}))
    return folder
