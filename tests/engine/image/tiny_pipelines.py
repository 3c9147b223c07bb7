"""Tiny random diffusers pipelines, written to a folder as the hub's are: Stable Diffusion (noise), Stable Diffusion 3 (flow)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

WIDTH = 32


def write_stable_diffusion(folder: Path) -> Path:
    """A UNet that learned noise, for pictures of 64 pixels."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    pipeline = StableDiffusionPipeline(
        vae=_autoencoder(4),
        text_encoder=CLIPTextModel(_clip()),
        tokenizer=_tokenizer(folder / "words"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def write_stable_diffusion_3(folder: Path) -> Path:
    """A transformer that learned flows, with two of the three text encoders."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
    )
    tokenizer = _tokenizer(folder / "words")
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(16, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=CLIPTextModelWithProjection(_clip()),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(_clip()),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _autoencoder(channels: int, **config: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=channels,
        norm_num_groups=4,
        **config,
    )


def _clip() -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=WIDTH,
        vocab_size=600,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """Every byte is a token, alone and at a word's end."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    names = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="<|endoftext|>")
