"""generators.tape_image: every bit of every word at its place, with little padding."""

import numpy as np
import pytest
from celosia.generators.program import tape_image
from celosia.generators.program.tape_image import port_images
from celosia.rtl.memory.axi_tape import port_width
from celosia.rtl.memory.gearbox import packed_width


@pytest.mark.parametrize(
    ("width", "data_width", "ports"),
    [(1089, 64, 1), (1089, 512, 2), (512, 64, 2), (64, 512, 1), (37, 32, 3), (320, 128, 4)],
)
def test_every_bit_at_its_place(monkeypatch, width, data_width, ports):
    monkeypatch.setattr(tape_image, "CHUNK", 1 << 12)  # several chunks
    n = 101
    words = np.random.default_rng(width).integers(0, 256, (n, -(-width // 8)), np.uint8)
    images = port_images(words, width, data_width, ports)
    assert len(images) == ports
    part = port_width(width, ports)
    stride = packed_width(part, data_width)
    for p, image in enumerate(images):
        assert image.size == -(-n * stride // data_width) * data_width // 8
        bits = int.from_bytes(image.tobytes(), "little")
        expected = 0
        for index, word in enumerate(words):
            value = int.from_bytes(word.tobytes(), "little") % (1 << width)
            expected |= (value >> p * part) % (1 << part) << index * stride
        assert bits == expected


def test_refuses_words_of_another_width():
    with pytest.raises(ValueError, match="words of 65 bits must have 9 bytes, not 8"):
        port_images(np.zeros((3, 8), np.uint8), 65, 64)
