"""The pieces of tokens are bytes, and join to what the tokenizer decodes, whatever its kind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from emocaliber.models.tokens import TokenBytes

TEXTS = st.text(alphabet=st.one_of(st.sampled_from("aeé日本🙂👩‍👩‍👧 \n0.<>"), st.characters(codec="utf-8")))


@given(text=TEXTS)
def test_the_pieces_of_a_text_join_to_it_in_utf_8(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    pieces = TokenBytes(tokenizer).pieces(ids)
    assert len(pieces) == len(ids)
    assert b"".join(pieces).decode() == tokenizer.backend_tokenizer.normalizer.normalize_str(text)


@given(ids=st.lists(st.integers(0, 600), max_size=40))
def test_any_tokens_join_to_what_the_tokenizer_decodes_even_where_they_make_no_characters(tokenizer: Any, ids: list[int]) -> None:
    pieces = TokenBytes(tokenizer).pieces(ids)
    assert len(pieces) == len(ids)
    assert b"".join(pieces).decode(errors="replace") == tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def test_a_character_of_several_tokens_is_in_all_of_them(tokenizer: Any) -> None:
    ids = tokenizer("日")["input_ids"]
    assert len(ids) == 3
    assert TokenBytes(tokenizer).pieces(ids) == (b"\xe6", b"\x97", b"\xa5")


def test_a_piece_keeps_its_space_and_an_added_token_is_plain_text(tokenizer: Any) -> None:
    token_bytes = TokenBytes(tokenizer)
    assert [token_bytes.piece(token) for token in tokenizer("<answer>b a.")["input_ids"]] == [b"<answer>", b"b", b" a", b"."]
    phrase = next(token for token in tokenizer.get_added_vocab() if " " in token)
    assert token_bytes.piece(tokenizer.convert_tokens_to_ids(phrase)) == phrase.encode()


def test_an_id_beyond_the_vocabulary_has_no_bytes(tokenizer: Any) -> None:
    assert TokenBytes(tokenizer).piece(len(tokenizer) + 5) == b""


@pytest.fixture(scope="module")
def other() -> PreTrainedTokenizerFast:
    """A tokenizer of the Llama kind: spaces are written as U+2581, unknown characters as bytes."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁fear", "▁a", "awe", "a", "w", "e", "."]
    made = Tokenizer(models.BPE({word: place for place, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


WORDS = st.sampled_from(["▁fear", "▁a", "awe", "▁", "."]).map(lambda word: [word])
SIGNS = st.sampled_from("日é🙂").map(lambda sign: [f"<0x{byte:02X}>" for byte in sign.encode()])


@given(groups=st.lists(WORDS | SIGNS, max_size=8))
def test_pieces_of_tokenizers_of_another_kind_come_from_the_text(other: PreTrainedTokenizerFast, groups: list[list[str]]) -> None:
    ids = other.convert_tokens_to_ids([token for group in groups for token in group])
    pieces = TokenBytes(other).pieces(ids)
    assert len(pieces) == len(ids)
    assert b"".join(pieces).decode() == other.decode(ids)


def test_a_piece_of_a_tokenizer_of_another_kind_keeps_its_space(other: PreTrainedTokenizerFast) -> None:
    token_bytes = TokenBytes(other)
    assert [token_bytes.piece(token) for token in other.convert_tokens_to_ids(["▁fear", "awe"])] == [b" fear", b"awe"]
