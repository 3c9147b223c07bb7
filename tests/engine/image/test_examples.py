"""Examples beside the noise: which are found, which never, and that few bits lose little."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.image.examples import JITTER, LATENTS, SHOWN, WIDTH, drawn, load_examples, packed, placed
from tests.engine.image.tiny import tiny_examples


def test_four_bits_keep_most_of_a_picture() -> None:
    latents = torch.randn(300, *LATENTS) * torch.linspace(0.5, 2, 16)[:, None, None]
    codes, levels = packed(latents)
    made = dataclasses.replace(tiny_examples(), codes=codes, levels=levels)
    missed = (made.latents(torch.arange(300)) - latents).square().mean((0, 2, 3)) / latents.var((0, 2, 3))
    assert codes.shape == (300, 512) and float(missed.max()) < 0.02


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = tiny_examples()
    made.save(tmp_path / "examples.safetensors")
    read = load_examples(tmp_path / "examples.safetensors")
    rows = torch.tensor([[0, 3], [7, 1]])
    assert torch.equal(read.latents(rows), made.latents(rows)) and read.size_bytes == made.size_bytes


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_another_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, path)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        load_examples(path)


def test_the_nearest_names_come_first_and_never_the_style_that_is_asked_for() -> None:
    made = tiny_examples()
    vector = made.directions.float() @ (made.names[2].float() / 127)  # what "name 2" means
    pictures, likeness = made.nearest(vector[None])
    assert set(pictures[0, :2].tolist()) == {4, 5} and float(likeness[0, 0]) == pytest.approx(1, abs=0.02)
    alone = made.beside(vector[None], [0], seed=1).unflatten(1, (SHOWN, LATENTS[0] + 1, *LATENTS[1:]))
    assert torch.equal(alone[0, 0, :16], made.latents(torch.tensor(5))), "picture 5 is the same name in style 1"
    assert all(not torch.equal(one[:16], made.latents(torch.tensor(4))) for one in alone[0])


def test_chance_follows_the_seed_and_nothing_said_shows_nothing() -> None:
    made = tiny_examples()
    vectors = torch.nn.functional.normalize(torch.randn(2, 384, generator=torch.Generator().manual_seed(3)), dim=1)
    vectors[1] = 0
    one, same = (made.beside(vectors, [None, None], seed=7) for _ in range(2))
    assert torch.equal(one, same) and one.shape == (2, WIDTH)
    assert one[0].any() and not one[1].any()
    assert any(not torch.equal(one[0], made.beside(vectors, [None, None], seed=seed)[0]) for seed in range(8, 20))


def test_a_picture_that_may_not_be_shown_leaves_its_place_empty() -> None:
    pictures = torch.arange(6)[None]
    likeness = torch.tensor([[0.9, 0.8, -torch.inf, -torch.inf, -torch.inf, -torch.inf]])
    chosen, near = drawn(pictures, likeness, torch.zeros(1, 6))
    assert near.tolist() == [[pytest.approx(0.9), pytest.approx(0.8), 0, 0]]
    shown = placed(torch.ones(1, SHOWN, *LATENTS), near).unflatten(1, (SHOWN, -1))
    assert shown[0, :2].all() and not shown[0, 2:].any()


def test_only_near_names_take_turns() -> None:
    pictures, likeness = torch.arange(8)[None], torch.tensor([[0.9, 0.89, 0.88, 0.87, 0.86, 0.3, 0.3, 0.3]])
    chance = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    chosen, _ = drawn(pictures.expand(500, -1), likeness.expand(500, -1), chance)
    assert JITTER < 0.1 and int(chosen.max()) == 4 and len({*chosen.flatten().tolist()}) == 5
