"""What benchmarks and results compare with: Lyra written down plainly from the paper's equations, CNN, Transformers.

`PlainLyra` computes what `lyra` computes (`tests/test_benchmark.py` shows it) in the straightforward way: one-hot
input, the kernel as a materialised Vandermonde product of size channels x state x length, the convolution by transforms
of twice the length, the library's own norms and convolutions. Its parameters carry the published names, so that
`convert_original_checkpoint.py` reads them.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import EsmConfig, EsmForSequenceClassification

from lyra import LyraConfig
from lyra.modeling_lyra import LyraClassificationModel, LyraModelOutput


class PlainKernel(nn.Module):
    """The S4D kernel (arXiv 2206.11893, section 3.1) with its Vandermonde matrix."""

    def __init__(self, channels: int, state_size: int):
        super().__init__()
        pairs = state_size // 2
        self.log_dt = nn.Parameter(torch.empty(channels).uniform_(math.log(0.001), math.log(0.1)))
        self.log_A_real = nn.Parameter(torch.full((channels, pairs), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(pairs, dtype=torch.float32).repeat(channels, 1))
        self.C = nn.Parameter(torch.randn(channels, pairs, 2) * math.sqrt(0.5))

    def forward(self, length: int) -> torch.Tensor:
        A = torch.complex(-self.log_A_real.exp(), self.A_imag)  # (h, n/2)
        dtA = A * self.log_dt.exp().unsqueeze(-1)
        C = torch.view_as_complex(self.C) * (dtA.exp() - 1) / A
        vandermonde = torch.exp(dtA.unsqueeze(-1) * torch.arange(length, device=A.device))  # (h, n/2, l)
        return 2 * torch.einsum("hn,hnl->hl", C, vandermonde).real


class PlainS4D(nn.Module):
    """The state space convolution and what follows it, on `(b, h, l)`."""

    def __init__(self, channels: int, state_size: int, dropout: float):
        super().__init__()
        self.D = nn.Parameter(torch.randn(channels))
        self.kernel = PlainKernel(channels, state_size)
        self.dropout = nn.Dropout1d(dropout)  # a channel of a sequence at a time
        self.output_linear = nn.Sequential(nn.Conv1d(channels, 2 * channels, 1), nn.GLU(dim=1))

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        size = 2 * u.shape[-1]
        kernel = torch.fft.rfft(self.kernel(u.shape[-1]), n=size)
        y = torch.fft.irfft(torch.fft.rfft(u, n=size) * kernel, n=size)[..., : u.shape[-1]]
        return self.output_linear(self.dropout(F.gelu(y + self.D.unsqueeze(-1) * u)))


class PlainPGC(nn.Module):
    """The projected gated convolution, on `(b, l, d)`."""

    def __init__(self, d: int, expansion: float):
        super().__init__()
        channels = int(expansion * d)
        self.in_proj = nn.Linear(d, 2 * channels)
        self.in_norm = nn.RMSNorm(2 * channels, eps=1e-8)
        self.conv = nn.Conv1d(channels, channels, 3, padding=1, groups=channels)
        self.out_proj = nn.Linear(channels, d)
        self.out_norm = nn.RMSNorm(d, eps=1e-8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, gate = self.in_norm(self.in_proj(x)).chunk(2, dim=-1)
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return self.out_norm(self.out_proj(gate * x))


class PlainLyra(nn.Module):
    """The paper's model with one output: one-hot letters `(b, l, a)` to `(b, 1)`."""

    def __init__(self, letters: int, d: int = 64, state_size: int = 64, dropout: float = 0.2):
        super().__init__()
        self.encoder = nn.Linear(letters, d)
        self.pgc1, self.pgc2 = PlainPGC(d, 0.25), PlainPGC(d, 2)
        self.norm = nn.RMSNorm(d, eps=1e-8)
        self.s4d = PlainS4D(d, state_size, dropout)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(d, 1)

    def forward(self, one_hot: torch.Tensor) -> torch.Tensor:
        x = self.pgc2(self.pgc1(self.encoder(one_hot)))
        x = x + self.dropout(self.s4d(self.norm(x).transpose(1, 2)).transpose(1, 2))
        return self.decoder(x.mean(dim=1))


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and MLP, `(b, l, d)` to `(b, l, d)`."""

    def __init__(self, d: int, heads: int = 4, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """`mask` `(b, l)` is true at real positions."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None, None])
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class ConvolutionBlock(nn.Module):
    """Pre-norm residual convolution over five positions, `(b, l, d)` to `(b, l, d)`."""

    def __init__(self, d: int, dropout: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.conv = nn.Conv1d(d, d, 5, padding=2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """`mask` `(b, l)` is true at real positions."""
        y = F.gelu(self.norm(x))
        if mask is not None:
            y = y.masked_fill(~mask.unsqueeze(-1), 0)
        return x + self.dropout(self.conv(y.transpose(1, 2)).transpose(1, 2))


class Transformer(nn.Module):
    """A Transformer encoder of Lyra's width, with `scaled_dot_product_attention`: ids `(b, l)` to `(b, 1)`."""

    def __init__(self, vocabulary: int, d: int = 64, layers: int = 2, heads: int = 4):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d)
        self.layers = nn.ModuleList(TransformerBlock(d, heads) for _ in range(layers))
        self.decoder = nn.Linear(d, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x)
        return self.decoder(x.mean(dim=1))


class ReferenceEncoder(nn.Module):
    """Stands in for `LyraModel` in a head: the same letters, another kind of block, positions as sines and cosines."""

    def __init__(self, config: LyraConfig, embeddings: nn.Module, blocks: list[nn.Module]):
        super().__init__()
        self.config, self.embeddings = config, embeddings
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, input_ids: torch.Tensor, *others: None, return_dict: bool = True) -> LyraModelOutput:
        x = self.embeddings(input_ids)
        x = x + _sines(x.shape[1], x.shape[2]).to(x.device)
        mask = input_ids != self.config.pad_token_id
        for block in self.blocks:
            x = block(x, None if mask.all() else mask)
        x = self.norm(x)
        weights = mask.unsqueeze(-1).to(x.dtype)
        pooled = (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return LyraModelOutput(last_hidden_state=x, pooler_output=pooled)


def _sines(length: int, d: int) -> torch.Tensor:
    """Sinusoidal positions (Vaswani et al. 2017, section 3.5), `(l, d)`."""
    rates = torch.exp(-math.log(10000) * torch.arange(0, d, 2) / d)
    angles = torch.arange(length).unsqueeze(-1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def build_cnn(head: type[LyraClassificationModel], config: LyraConfig) -> LyraClassificationModel:
    """A Lyra head over three residual convolutions; width and dropout are the config's."""
    blocks = [ConvolutionBlock(config.hidden_size, config.hidden_dropout_prob) for _ in range(3)]
    return _with_encoder(head(config), blocks)


def build_transformer(head: type[LyraClassificationModel], config: LyraConfig) -> LyraClassificationModel:
    """A Lyra head over two Transformer blocks; width and dropout are the config's."""
    blocks = [TransformerBlock(config.hidden_size, dropout=config.hidden_dropout_prob) for _ in range(2)]
    return _with_encoder(head(config), blocks)


def _with_encoder(model: LyraClassificationModel, blocks: list[nn.Module]) -> LyraClassificationModel:
    model.lyra = ReferenceEncoder(model.config, model.lyra.embeddings, blocks)
    return model


def esm2_8m() -> EsmForSequenceClassification:
    """The architecture of ESM-2 8M (6 layers of width 320, 20 heads) with random weights and one output."""
    config = EsmConfig(
        vocab_size=33,
        pad_token_id=1,
        mask_token_id=32,
        hidden_size=320,
        num_hidden_layers=6,
        num_attention_heads=20,
        intermediate_size=1280,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        num_labels=1,
        attn_implementation="sdpa",
    )
    return EsmForSequenceClassification(config)
