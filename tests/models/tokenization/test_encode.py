"""What a model is given to read: split where options part, one BOS, nothing of an item taken for a special token."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_models
from tokenizers import AddedToken, pre_tokenizers, processors

from runner.core.errors import InvalidInput
from runner.core.types import VerbalizedFormat
from runner.models.tokenization import EncodedPrompt, PromptEncoder, encode, encode_all
from runner.models.tokenization.chat_template import open_thought
from runner.tasks.prompts import text

BYTE = tiny_models.byte_tokenizer()
BYTE_WITHOUT_BOS = tiny_models.byte_tokenizer(bos=False)
PIECE = tiny_models.piece_tokenizer()
PIECE_LINES = tiny_models.piece_tokenizer(template=tiny_models.LINES)
TOKENIZERS = [BYTE, BYTE_WITHOUT_BOS, PIECE]


def whole(encoded: EncodedPrompt) -> list[list[int]]:
    """The ids of the prompt with each surface form."""
    return [[*encoded.prefix.tolist(), *tail] for tail in encoded.tails]


def special_ids(tokenizer: Any) -> set[int]:
    return {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}


def codes(call: Callable[[], Any]) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        call()
    return [fault.code for fault in caught.value.faults]


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Co"]), min_size=1, max_size=80)


@pytest.mark.slow
@given(first=words, second=words, which=st.sampled_from(range(len(TOKENIZERS))))
def test_plain_is_the_tokenizer_s_own_encoding(first: str, second: str, which: int) -> None:
    tokenizer = TOKENIZERS[which]
    prompt = tiny_models.prompt(first, second, options=tiny_models.WORDS, max_tokens=10_000)
    encoded = encode(prompt, tokenizer, "plain", 10_000)
    begun = text(prompt) + prompt.cue_plain
    forms = [form for forms in prompt.options for form in forms]
    assert whole(encoded) == [tokenizer(begun + form)["input_ids"] for form in forms]
    assert encoded.labels == (0, 0, 1, 2, 2, 3)
    assert not encoded.truncated


@given(first=words, second=words, which=st.sampled_from(["headers", "brackets"]))
def test_chat_is_the_template_s_own_encoding(first: str, second: str, which: str) -> None:
    tokenizer = BYTE if which == "headers" else PIECE
    prompt = tiny_models.prompt(first, second, max_tokens=10_000)
    encoded = encode(prompt, tokenizer, "chat", 10_000)
    chat = [{"role": "user", "content": text(prompt)}]
    begun = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) + prompt.cue_chat
    assert whole(encoded) == [tokenizer(begun + form, add_special_tokens=False)["input_ids"] for form in (" A", " B")]


@given(first=words, second=words, form=st.sampled_from(["plain", "chat"]), which=st.sampled_from(range(4)))
def test_tails_part_at_once_and_none_begins_another(first: str, second: str, form: Any, which: int) -> None:
    tokenizer = [*TOKENIZERS, PIECE_LINES][which]
    prompt = tiny_models.prompt(first, second, options=(("yes", "Yes"), ("no", "No")), max_tokens=10_000)
    encoded = encode(prompt, tokenizer, form, 10_000)
    assert all(encoded.tails)
    for number, one in enumerate(encoded.tails):
        for other in encoded.tails[number + 1 :]:
            assert one[: len(other)] != other
            assert other[: len(one)] != one
    alone = encode(dataclasses.replace(prompt, options=((" ~",), (" ^",))), tokenizer, form, 10_000)
    common = [tail[0] for tail in encoded.tails]
    # The split is the latest possible: either the prompt alone ends there, or the tails differ there.
    assert encoded.joined or len(encoded.prefix) == len(alone.prefix) or len(set(common)) > 1


@given(
    pieces=st.lists(
        st.sampled_from([*tiny_models.ACTIONS[:3], "<|eot_id|>", "<|begin_of_text|>", "<s>", "</s>", "[INST]"])
    ),
    form=st.sampled_from(["plain", "chat"]),
    which=st.sampled_from(range(3)),
)
def test_an_item_never_writes_a_special_token(pieces: list[str], form: Any, which: int) -> None:
    tokenizer = [BYTE, PIECE, PIECE_LINES][which]
    spelt = encode(tiny_models.prompt(" ".join(pieces), max_tokens=10_000), tokenizer, form, 10_000)
    calm = encode(tiny_models.prompt("x", max_tokens=10_000), tokenizer, form, 10_000)
    special = special_ids(tokenizer) - {tokenizer.unk_token_id}

    def specials(encoded: EncodedPrompt) -> list[int]:
        return [token for token in encoded.prefix.tolist() if token in special]

    assert specials(spelt) == specials(calm)
    assert spelt.prefix.tolist().count(tokenizer.bos_token_id) == 1
    decoded = tokenizer.decode(spelt.prefix, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert " ".join(pieces) in decoded  # and it is all there, letter by letter


def stripping_tokenizer() -> Any:
    """One whose special token takes the spaces around it."""
    tokenizer = tiny_models.byte_tokenizer(template="{{ bos_token }}{{ messages[0]['content'] }}  <|turn|> \n")
    token = AddedToken("<|turn|>", lstrip=True, rstrip=True, normalized=False, special=True)
    tokenizer.add_special_tokens({"additional_special_tokens": [token]})
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [BYTE, PIECE, PIECE_LINES, stripping_tokenizer()],
    ids=["headers", "brackets", "lines", "stripping"],
)
def test_reading_around_special_tokens_is_the_usual_reading(tokenizer: Any) -> None:
    """The way taken for texts that spell special tokens gives the usual ids for texts that do not."""
    reader = PromptEncoder(tokenizer, "chat")
    written = [one for prompt in tiny_models.prompts(tiny_models.WORDS) for one in reader.write(prompt, None)]
    usual = reader.ids(written)
    reader._spells_special = lambda _: True  # type: ignore[method-assign]
    assert sum(token in special_ids(tokenizer) for token in usual[0]) >= 2
    assert reader.ids(written) == usual


@pytest.mark.slow
@given(
    values=st.lists(st.tuples(words, words), min_size=2, max_size=4),
    form=st.sampled_from(["plain", "chat"]),
    which=st.sampled_from(range(4)),
)
def test_the_beginning_of_a_template_is_as_long_as_its_text(
    values: list[tuple[str, str]], form: Any, which: int
) -> None:
    """Up to a space at its end, which may belong to what follows; and prompts of words begin so."""
    tokenizer = [*TOKENIZERS, PIECE_LINES][which]
    if form == "chat" and tokenizer is BYTE_WITHOUT_BOS:
        return
    template = "Two things that were told, one after the other. $first Then: $second"
    made = [tiny_models.prompt(*pair, template=template, max_tokens=10_000) for pair in values]
    reader = PromptEncoder(tokenizer, form)
    found = reader.beginning(made[0])
    assert found == reader.beginning(made[1])  # whatever the values are
    said = tokenizer.decode(found, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert said.rstrip().endswith("one after the other.")
    for action in tiny_models.ACTIONS:
        prompt = tiny_models.prompt(action, action, template=template, max_tokens=10_000)
        assert encode(prompt, tokenizer, form, 10_000).prefix[: len(found)].tolist() == found


def test_what_cannot_be_written_has_no_beginning() -> None:
    said = "messages[0]['content']"
    twice = f"{{{{ {said} }}}}|{{{{ {said} if 'third probe' in {said} else '' }}}}"
    tokenizer = tiny_models.byte_tokenizer(template=twice)
    assert PromptEncoder(tokenizer, "chat").beginning(tiny_models.prompt()) == []


class TestBos:
    """One in front where the tokenizer adds it, those that the template writes, and none that an item brings."""

    @pytest.mark.parametrize(
        ("tokenizer", "form", "expected"),
        [
            (BYTE, "plain", 1),
            (BYTE, "chat", 1),
            (PIECE, "plain", 1),
            (PIECE, "chat", 1),
            (PIECE_LINES, "chat", 1),  # the template renders none, the tokenizer's default does
            (BYTE_WITHOUT_BOS, "plain", 0),
        ],
    )
    def test_count(self, tokenizer: Any, form: Any, expected: int) -> None:
        ids = encode(tiny_models.prompt(), tokenizer, form, 500).prefix.tolist()
        bos = tokenizer.bos_token_id
        assert ids.count(bos) == expected
        assert (ids[0] == bos) == bool(expected)

    def test_a_template_that_renders_two_is_refused(self) -> None:
        tokenizer = tiny_models.byte_tokenizer(template="{{ bos_token }}" + tiny_models.HEADERS)
        assert codes(lambda: encode(tiny_models.prompt(), tokenizer, "chat", 500)) == ["BOS_COUNT"]

    CHATML = (
        "{% for message in messages %}{{ bos_token }}{{ message['role'] }}\n{{ message['content'] }}<|eot_id|>\n"
        "{% endfor %}{{ bos_token }}assistant\n"
    )
    BETWEEN = "[U]{{ messages[0]['content'] }}{{ bos_token }}[A]"

    @pytest.mark.parametrize(
        ("template", "bos", "expected"),
        [
            pytest.param(CHATML, True, 2, id="one a turn, the tokenizer adds one"),
            pytest.param(CHATML, False, 2, id="one a turn, the tokenizer adds none"),
            pytest.param(BETWEEN, True, 2, id="behind the message, one is put in front"),
            pytest.param(BETWEEN, False, 1, id="behind the message only"),
            pytest.param("\n" + CHATML, True, 2, id="behind a newline"),
        ],
    )
    def test_those_that_the_template_writes_are_right(self, template: str, bos: bool, expected: int) -> None:
        tokenizer = tiny_models.byte_tokenizer(template=template)
        if not bos:
            tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
        spelt = tiny_models.prompt(f"saying {tokenizer.bos_token} twice")
        for prompt in (tiny_models.prompt(), spelt):
            ids = encode(prompt, tokenizer, "chat", 500).prefix.tolist()
            assert ids.count(tokenizer.bos_token_id) == expected
            assert ids[:2] != [tokenizer.bos_token_id] * 2

    def test_a_tokenizer_that_begins_with_something_else_is_refused(self) -> None:
        tokenizer = tiny_models.byte_tokenizer()
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|eot_id|> $A", special_tokens=[("<|eot_id|>", tokenizer.convert_tokens_to_ids("<|eot_id|>"))]
        )
        assert codes(lambda: encode(tiny_models.prompt(), tokenizer, "plain", 500)) == ["TOKENIZER_BOS"]

    def test_a_tokenizer_may_end_texts_with_eos(self) -> None:
        tokenizer = tiny_models.byte_tokenizer()
        plain = encode(tiny_models.prompt(), tokenizer, "plain", 500)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin_of_text|> $A <|end_of_text|>",
            special_tokens=[("<|begin_of_text|>", 0), ("<|end_of_text|>", 1)],
        )
        assert whole(encode(tiny_models.prompt(), tokenizer, "plain", 500)) == whole(plain)


class TestJoin:
    """Where the prompt ends and an option begins."""

    def test_a_token_across_the_join_is_allowed_and_said(self) -> None:
        encoded = encode(tiny_models.prompt(cue_plain="\nAns", options=(("wer: A",), ("wer: B",))), BYTE, "plain", 500)
        assert encoded.joined
        assert [BYTE.decode(list(tail)) for tail in encoded.tails] == ["Answer: A", "Answer: B"]

    def test_nothing_across_the_join_is_said_too(self) -> None:
        assert not encode(tiny_models.prompt(), BYTE, "plain", 500).joined

    def test_one_option_across_the_join_moves_it_for_all(self) -> None:
        encoded = encode(
            tiny_models.prompt(cue_plain="\nAns", options=((" A",), ("wer",), (" B",))), BYTE, "plain", 500
        )
        assert encoded.joined
        assert [BYTE.decode(list(tail)) for tail in encoded.tails] == ["Ans A", "Answer", "Ans B"]

    @pytest.mark.parametrize(
        "options",
        [
            ((" A",), ("",)),
            ((" the",), (" the author",)),
            ((" A", " A"), (" B",)),
            ((" A",), (" A",)),
        ],
        ids=["empty", "begins another", "twice in a label", "twice in two labels"],
    )
    def test_options_that_overlap_are_refused(self, options: Any) -> None:
        assert codes(lambda: encode(tiny_models.prompt(options=options), BYTE, "plain", 500)) == ["JOIN_AMBIGUOUS"]

    def test_letters_that_only_begin_alike_are_not_overlapping(self) -> None:
        encoded = encode(tiny_models.prompt(options=((" the author",), (" the other",))), BYTE, "plain", 500)
        assert encoded.tails[0][0] == encoded.tails[1][0]


class TestLength:
    """Only the declared field is cut, from its end, and never unsaid."""

    LONG = "one two three four five six seven eight nine ten " * 40

    def test_the_longest_form_fits_exactly(self) -> None:
        prompt = tiny_models.prompt(options=tiny_models.WORDS)
        longest = max(map(len, whole(encode(prompt, BYTE, "plain", 10_000))))
        assert not encode(prompt, BYTE, "plain", longest).truncated
        assert codes(lambda: encode(prompt, BYTE, "plain", longest - 1)) == ["PROMPT_TOO_LONG"]

    @pytest.mark.parametrize("form", ["plain", "chat"])
    @pytest.mark.parametrize("limit", [100, 150, 400])
    def test_the_end_of_the_field_is_cut(self, form: Any, limit: int) -> None:
        prompt = tiny_models.prompt(tiny_models.ACTIONS[0], self.LONG, shorten="second", max_tokens=10_000)
        encoded = encode(prompt, BYTE, form, limit)
        assert encoded.truncated
        longest = max(map(len, whole(encoded)))
        assert limit - 2 <= longest <= limit
        before, after = tiny_models.QUESTION.replace("$first", tiny_models.ACTIONS[0]).split("$second")
        read = BYTE.decode(encoded.prefix, skip_special_tokens=True)
        kept = read.split(before, 1)[1].split(after, 1)[0]
        assert self.LONG.startswith(kept)
        assert len(kept) > 20
        again = encode(prompt, BYTE, form, limit)
        assert again.prefix.tolist() == encoded.prefix.tolist()

    def test_the_prompt_s_own_limit_holds_as_well(self) -> None:
        prompt = tiny_models.prompt(tiny_models.ACTIONS[0], self.LONG, shorten="second", max_tokens=120)
        assert max(map(len, whole(encode(prompt, BYTE, "plain", 500)))) <= 120

    def test_a_field_that_is_not_declared_is_not_cut(self) -> None:
        prompt = tiny_models.prompt(self.LONG, tiny_models.ACTIONS[0], shorten="second", item="item-9")
        with pytest.raises(InvalidInput, match=r"item-9 .* at most 100 were expected.*PROMPT_TOO_LONG"):
            encode(prompt, BYTE, "plain", 100)

    def test_a_limit_in_the_tokenizer_s_file_has_no_effect(self) -> None:
        tokenizer = tiny_models.byte_tokenizer()
        plain = encode(tiny_models.prompt(), tokenizer, "plain", 500)
        tokenizer.backend_tokenizer.enable_truncation(max_length=5)
        tokenizer.backend_tokenizer.enable_padding(length=300)
        assert encode(tiny_models.prompt(), tokenizer, "plain", 500).prefix.tolist() == plain.prefix.tolist()

    def test_the_template_s_own_text_is_not_counted(self) -> None:
        tokenizer = tiny_models.byte_tokenizer(template="A long word to the assistant. " * 100 + tiny_models.HEADERS)
        plain = max(map(len, whole(encode(tiny_models.prompt(), tokenizer, "plain", 9_000))))
        prompt = tiny_models.prompt(max_tokens=plain + 2)
        assert len(encode(prompt, tokenizer, "chat", 9_000).prefix) > plain + 500
        assert codes(lambda: encode(prompt, tokenizer, "chat", plain + 500)) == ["PROMPT_TOO_LONG"]
        assert codes(lambda: encode(tiny_models.prompt(max_tokens=plain - 9), tokenizer, "chat", 9_000)) == [
            "PROMPT_TOO_LONG"
        ]


class TestItemText:
    """An item is read as text, letter by letter, in tokens of ordinary size."""

    ITEM = "telling my neighbour that his dog barks at night"

    @pytest.mark.parametrize("form", ["plain", "chat"])
    @pytest.mark.parametrize("normalized", [False, True])
    @pytest.mark.parametrize("kind", ["byte", "piece"])
    def test_added_tokens_are_text(self, form: Any, normalized: bool, kind: str) -> None:
        make = tiny_models.byte_tokenizer if kind == "byte" else tiny_models.piece_tokenizer
        knowing, usual = make(), make()
        contents = [self.ITEM, "not paying back", "night\nB", "neighbour"]
        contents += [content.replace(" ", "▁") for content in contents] if normalized else []
        knowing.add_tokens([AddedToken(content, normalized=normalized, special=False) for content in contents])
        prompt = tiny_models.prompt(self.ITEM)
        assert whole(encode(prompt, knowing, form, 500)) == whole(encode(prompt, usual, form, 500))

    def test_added_tokens_of_the_template_are_tokens(self) -> None:
        template = tiny_models.HEADERS + "{{ '<think>\n\n</think>\n\n' }}"
        tokenizer = tiny_models.byte_tokenizer(template=template)
        tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
        prompt = tiny_models.prompt("writing <think> in a letter")
        think = tokenizer.convert_tokens_to_ids("<think>")
        ids = encode(prompt, tokenizer, "chat", 500).prefix.tolist()
        assert ids.count(think) == 1
        assert "writing <think> in a letter" in tokenizer.decode(ids)

    def test_runs_of_blanks_are_as_the_family_reads_them(self) -> None:
        tokenizer = tiny_models.byte_tokenizer()
        tokenizer.add_tokens([AddedToken("    ", special=False)])
        ids = encode(tiny_models.prompt("far    away"), tokenizer, "plain", 500).prefix.tolist()
        assert tokenizer.convert_tokens_to_ids("    ") in ids

    @pytest.mark.parametrize("form", ["plain", "chat"])
    def test_a_vocabulary_that_knows_the_item_is_refused(self, form: Any) -> None:
        tokenizer = tiny_models.byte_tokenizer()
        document = json.loads(tokenizer.backend_tokenizer.to_str())
        parts = tokenizer.tokenize(" to tell it")
        merges = [["".join(parts[:end]), parts[end]] for end in range(1, len(parts))]
        document["model"]["merges"] += merges
        document["model"]["vocab"] |= {left + right: 60_000 + number for number, (left, right) in enumerate(merges)}
        spoilt = type(tokenizer.backend_tokenizer).from_str(json.dumps(document))
        spoilt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer._tokenizer = spoilt
        prompt = tiny_models.prompt("I wanted to tell it all")
        with pytest.raises(InvalidInput, match=r"reads 'to tell it' as one token") as caught:
            encode(prompt, tokenizer, form, 500)
        assert [fault.code for fault in caught.value.faults] == ["TOKENIZER_LONG_TOKEN"]

    def test_every_prompt_is_looked_at(self) -> None:
        """One letter that only one prompt of many has."""
        tokenizer = tiny_models.byte_tokenizer()
        document = json.loads(tokenizer.backend_tokenizer.to_str())
        letter = next(iter(pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("é")))[0][1]
        document["model"]["vocab"]["\ue000"] = document["model"]["vocab"].pop(letter)
        tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(document))
        prompts = [tiny_models.prompt(item=str(number)) for number in range(300)]
        prompts[217] = tiny_models.prompt("going to a café", item="217")
        with pytest.raises(InvalidInput) as caught:
            encode_all(prompts, tokenizer, "plain", 500)
        (fault,) = caught.value.faults
        assert fault.code == "TOKENIZER_REWRITES"
        assert "item 217 " in fault.message


class TestTemplate:
    """A chat template shows the message once and writes the same around every message."""

    @pytest.mark.parametrize(
        ("template", "code"),
        [
            (None, "CHAT_TEMPLATE_MISSING"),
            ("Answer: B", "TEMPLATE_DROPS_TEXT"),
            ("{{ messages[0]['content'] }} {{ messages[0]['content'] }}", "TEMPLATE_DROPS_TEXT"),
            ("{{ messages[0]['content'] | upper }}", "TEMPLATE_DROPS_TEXT"),
            ("{{ messages[0]['content'] | length }} {{ messages[0]['content'] }}", "TEMPLATE_READS_TEXT"),
            ("{% if 'dog' in messages[0]['content'] %}B{% endif %}{{ messages[0]['content'] }}", "TEMPLATE_READS_TEXT"),
            ("{{ raise_exception('no user allowed') }}", "TEMPLATE_ERROR"),
            ("{{ messages[0]['content'] + 1 }}", "TEMPLATE_ERROR"),
            ("{{ messages[0]['content'] }}{{ messages[7]['content']['x'] }}", "TEMPLATE_ERROR"),
        ],
    )
    def test_refused(self, template: str | None, code: str) -> None:
        tokenizer = tiny_models.byte_tokenizer(template=template)
        assert codes(lambda: encode(tiny_models.prompt(), tokenizer, "chat", 500)) == [code]

    def test_a_template_is_not_asked_in_plain_format(self) -> None:
        tokenizer = tiny_models.byte_tokenizer(template="Answer: B")
        assert encode(tiny_models.prompt(), tokenizer, "plain", 500).tails

    def test_a_template_that_trims_is_accepted(self) -> None:
        prompt = tiny_models.prompt(template="  $first\n or $second?\n\n")
        read = BYTE.decode(encode(prompt, BYTE, "chat", 500).prefix, skip_special_tokens=True)
        assert text(prompt).strip() in read

    def test_an_item_without_text_is_refused(self) -> None:
        prompt = tiny_models.prompt(" ", " ", template="$first$second")
        assert codes(lambda: encode(prompt, BYTE, "chat", 500)) == ["TEMPLATE_DROPS_TEXT"]

    def test_letters_of_the_item_and_the_template_may_not_make_a_token(self) -> None:
        tokenizer = tiny_models.byte_tokenizer(template="{{ messages[0]['content'] }}_id|>")
        prompt = tiny_models.prompt(template="$first or $second<|eot")
        assert codes(lambda: encode(prompt, tokenizer, "chat", 500)) == ["TEMPLATE_READS_TEXT"]


class TestThought:
    """A template that leaves a thought open is no place for an option."""

    OPEN = "{{ messages[0]['content'] }}<a>{{ '<think>\n' if enable_thinking is not false else '<think></think>' }}"

    def test_it_is_refused_with_the_argument_that_ends_it(self) -> None:
        tokenizer = tiny_models.byte_tokenizer(template=self.OPEN)
        with pytest.raises(InvalidInput) as caught:
            encode_all(tiny_models.prompts(), tokenizer, "chat", 500)
        (fault,) = caught.value.faults
        assert fault.code == "TEMPLATE_OPEN_THOUGHT"
        assert "`template_arguments: {enable_thinking: false}`" in str(fault.hint)
        arguments = {"enable_thinking": False}
        assert encode_all(tiny_models.prompts(), tokenizer, "chat", 500, arguments)[0].tails

    def test_without_such_an_argument_it_is_refused_too(self) -> None:
        tokenizer = tiny_models.byte_tokenizer(template="{{ messages[0]['content'] }}<|A|><think>")
        with pytest.raises(InvalidInput, match="format: plain"):
            encode_all(tiny_models.prompts(), tokenizer, "chat", 500)

    def test_a_written_answer_may_begin_with_a_thought(self) -> None:
        tokenizer = tiny_models.byte_tokenizer(template=self.OPEN)
        writing = VerbalizedFormat(names=("A", "B"), labels=(0, 1), zero_percent=0.5, max_new_tokens=9)
        assert encode(dataclasses.replace(tiny_models.prompt(), options=(), writing=writing), tokenizer, "chat", 500)

    @pytest.mark.parametrize(
        ("after", "mark"),
        [
            ("<|im_start|>assistant\n<think>\n", "<think>"),
            ("<|im_start|>assistant\n<think>\n\n</think>\n\n", None),
            ("<|CHATBOT_TOKEN|><|START_THINKING|>", "<|START_THINKING|>"),
            ("<|CHATBOT_TOKEN|><|START_THINKING|><|END_THINKING|>", None),
            ("<|turn>model\n<|channel>thought\n<channel|>", None),
            ("<|assistant|></think>", None),
            ("<seed:bos>assistant\n<seed:think>", "<seed:think>"),
            ("[/INST][THINK]", "[THINK]"),
            ("<think>done</think> then <think>", "<think>"),
            ("[/INST]", None),
        ],
    )
    def test_marks_of_the_field(self, after: str, mark: str | None) -> None:
        assert open_thought(after) == mark


def test_a_template_that_asks_for_the_date_gets_the_pinned_one() -> None:
    template = "{{ strftime_now('%d %b %Y') }}|{{ messages[0]['content'] }}|"
    encoder = PromptEncoder(tiny_models.byte_tokenizer(template=template), "chat")
    assert encoder.write(tiny_models.prompt(), None)[0].text.startswith("26 Jul 2024|")
    assert encoder.template_date == "2024-07-26"
    assert PromptEncoder(BYTE, "chat").template_date is None


def test_the_same_fault_of_many_prompts_is_one_with_their_number() -> None:
    good = tiny_models.prompts()
    long = [
        dataclasses.replace(tiny_models.prompt("x " * number, item=f"bad-{number}"), max_tokens=5)
        for number in range(30)
    ]
    option = dataclasses.replace(tiny_models.prompt(item="other"), options=((" A",), ("",)))
    with pytest.raises(InvalidInput) as caught:
        encode_all([*long, *good, option], BYTE, "plain", 500)
    first, second = caught.value.faults
    assert (first.code, second.code) == ("PROMPT_TOO_LONG", "JOIN_AMBIGUOUS")
    assert "bad-0 " in first.message
    assert first.message.endswith(" (and 29 more prompts).")
    assert "more" not in second.message


def test_at_most_twenty_kinds_of_faults_are_said() -> None:
    options = [((letter,), (letter * 2,)) for letter in "abcdefghijklmnopqrstuvwx"]
    bad = [dataclasses.replace(tiny_models.prompt(), options=each) for each in options]
    with pytest.raises(InvalidInput) as caught:
        encode_all(bad, BYTE, "plain", 500)
    assert [fault.code for fault in caught.value.faults] == ["JOIN_AMBIGUOUS"] * 20 + ["MORE_FAULTS"]
    assert "more prompts have a fault" in caught.value.faults[20].message


def test_many_prompts_come_back_in_order() -> None:
    many = [tiny_models.prompt(f"number {number}", item=str(number)) for number in range(700)]
    encoded = encode_all(iter(many), BYTE, "plain", 500)
    assert len(encoded) == 700
    for number in (0, 255, 256, 699):
        assert f"number {number}\n" in BYTE.decode(encoded[number].prefix)


def test_a_slow_tokenizer_is_refused() -> None:
    assert codes(lambda: encode(tiny_models.prompt(), object(), "plain", 500)) == ["TOKENIZER_KIND"]


def test_a_panic_of_the_tokenizer_is_told_in_words() -> None:
    class PanicException(BaseException):
        """As pyo3's, which is no `Exception`."""

    class Backend:
        truncation = padding = None
        encode_special_tokens = False

        def no_truncation(self) -> None: ...

        def no_padding(self) -> None: ...

        def get_added_tokens_decoder(self) -> dict[int, Any]:
            return {}

        def encode_batch_fast(self, texts: list[str], add_special_tokens: bool) -> None:
            raise PanicException("regex gave up")

    class Tokenizer:
        is_fast = True
        bos_token_id = None
        added_tokens_decoder: dict[int, Any] = {}
        backend_tokenizer = Backend()

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [1]}

    with pytest.raises(InvalidInput, match=r"regex gave up.*TOKENIZER_LIMIT"):
        encode(tiny_models.prompt(), Tokenizer(), "plain", 500)


def test_a_written_answer_has_room_behind_its_prompt() -> None:
    """The prompt may have what the context leaves beside the longest answer, and not one token more."""
    tokenizer = tiny_models.byte_tokenizer()
    writing = VerbalizedFormat(names=("A", "B"), labels=(0, 1), zero_percent=0.5, max_new_tokens=9)
    prompt = dataclasses.replace(tiny_models.prompt(), options=(), writing=writing, shorten=None)
    tokens = len(encode(prompt, tokenizer, "plain", 10_000).prefix)
    assert len(encode(prompt, tokenizer, "plain", tokens + 9).prefix) == tokens
    assert codes(lambda: encode(prompt, tokenizer, "plain", tokens + 8)) == ["PROMPT_TOO_LONG"]
