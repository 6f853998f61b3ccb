"""Each hostile folder has exactly its faults, a sound one has none, and the page that lists them is up to date."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import attack_groups, factories, special_files
from support import hostile_submissions as hostile

# What is tried from inside lies beside the tests of the process.
from support import sandbox_probes as hostile_code
from support.paths import ROOT

from runner.artifacts import (
    Kind,
    PrivateView,
    adapter_manifest,
    changed_files,
    check_adapter,
    check_folders,
    check_model,
    check_submission_files,
    model_manifest,
    submission_manifest,
)
from runner.config import check_file
from runner.core.canonical import manifest, manifest_digest
from runner.core.errors import Fault, InvalidInput
from runner.core.types import AdapterRef, ModelRef, Submission
from runner.evaluation.score import score_file

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hostile-submissions.md"


def submission(
    model: Path | None, *, digest: str | None = None, adapter: Path | None = None, adapter_digest: str | None = None
) -> Submission:
    reference = ModelRef(
        backend="causal",
        path=str(model) if model else None,
        repository=None if model else "example/base",
        revision=None if model else "0" * 40,
        digest=digest,
        format="plain",
        dtype="float32",
        quantization=None,
    )
    low_rank = AdapterRef(path=str(adapter), repository=None, revision=None, digest=adapter_digest) if adapter else None
    return Submission("s", "", "sha256:" + "0" * 64, b"", reference, low_rank)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def model_facts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = tmp_path_factory.mktemp("sound") / "model"
    hostile.make_model(made)
    faults, facts = check_model(made)
    assert faults == ()
    return facts


def codes(attack: Any, made: Path, model_facts: Any) -> tuple[Fault, ...]:
    match attack.kind:
        case "model":
            return check_model(made)[0]
        case "adapter":
            faults, _ = check_adapter(made, model_facts, base="example/base")
            alone, _ = check_adapter(made, None, base="example/base")
            assert {fault.code for fault in alone} <= {fault.code for fault in faults}
            return faults
        case "pinned":
            digest = manifest_digest(model_manifest(made))
            assert check_submission_files(submission(made, digest=digest)) == ()
            attack.make(made)
            return check_submission_files(submission(made, digest=digest))
        case "edited":
            before = model_manifest(made)
            assert changed_files(made, "model", before) == []
            attack.make(made)
            return tuple(changed_files(made, "model", before))
    raise AssertionError(attack.kind)


def as_another_user(made: Path) -> list[str]:
    """The codes found by a child that is not root, to whom the mode of a file means something."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            found = [fault.code for fault in check_model(made)[0]]
            os.write(writer, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    found = json.loads(answer)
    assert isinstance(found, list)
    return found


LARGE = ("tree/many", "st/tensors")


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(attack, id=attack.name, marks=[pytest.mark.slow] if attack.name in LARGE else [])
        for attack in (*hostile.ATTACKS, *hostile.HARMLESS)
    ],
)
def test_each_hostile_folder_has_exactly_its_faults(attack: Any, folder: Path, model_facts: Any) -> None:
    made = hostile.make(attack, folder)
    if attack.name == "tree/mode-0600" and os.geteuid() == 0:
        found = as_another_user(made)
    else:
        faults = codes(attack, made, model_facts)
        found = [fault.code for fault in faults]
        for fault in faults:
            assert fault.file
            assert fault.file.startswith(str(made))
            assert str(fault).isprintable()
            assert fault.message.endswith(".")
    assert set(found) == set(attack.codes)


def contents(folder: Path, kind: Kind) -> dict[str, Any]:
    """What the library is given: every file of the private folder; of weights, which open file they lead to."""
    with PrivateView(folder, kind) as view:
        assert all(path.is_file() for path in view.folder.rglob("*"))
        return {path.name: path.read_bytes() for path in view.folder.rglob("*")}


@pytest.mark.parametrize("attack", hostile.HARMLESS, ids=lambda attack: attack.name)
def test_what_is_never_loaded_is_not_there_for_the_library(attack: Any, folder: Path) -> None:
    kind: Kind = "adapter" if attack.kind == "adapter" else "model"
    make = hostile.make_adapter if kind == "adapter" else hostile.make_model
    make(folder / "sound")
    sound = contents(folder / "sound", kind)
    found = contents(hostile.make(attack, folder / "hostile"), kind)
    if (
        attack.name == "adapter/regex"
    ):  # it becomes the modules that the tensors name; the sound one gives their endings
        settings = json.loads(found["adapter_config.json"])
        targets = settings.pop("target_modules")
        assert targets == [f"model.layers.0.self_attn.{letter}_proj" for letter in "qv"]
        sound = {**sound, "adapter_config.json": json.loads(sound["adapter_config.json"])}
        sound["adapter_config.json"].pop("target_modules")
        found["adapter_config.json"] = settings
    assert found == sound


def test_sound_folders_have_no_fault(folder: Path) -> None:
    hostile.make_model(folder / "model")
    hostile.make_adapter(folder / "adapter")
    faults, facts = check_model(folder / "model")
    assert faults == ()
    assert facts is not None
    assert facts.modules["model.layers.0.mlp.down_proj"] == (32, 64)
    faults, adapter = check_adapter(folder / "adapter", facts, base="Example/Base")
    assert faults == ()
    assert adapter is not None
    assert (adapter.rank, adapter.base_model, adapter.parameters) == (4, "example/base", 512)


def test_a_sharded_model_has_no_fault_and_the_same_facts(folder: Path, model_facts: Any) -> None:
    hostile.make_model(folder / "model")
    hostile.make_shards(folder / "model")
    faults, facts = check_model(folder / "model")
    assert faults == ()
    assert facts is not None
    assert facts.modules == model_facts.modules
    assert facts.parameters == model_facts.parameters


def test_files_that_are_accepted_and_ignored_change_neither_verdict_nor_digest(folder: Path) -> None:
    made = folder / "model"
    hostile.make_model(made)
    before = model_manifest(made)
    (made / "generation_config.json").write_text('{"suppress_tokens": [1, 2, 3], "forced_bos_token_id": 5}')
    for name in ("README.md", "LICENSE", "vocab.json", "merges.txt", "tokenizer.model"):
        (made / name).write_text("anything")
    (made / ".cache" / "huggingface").mkdir(parents=True)
    (made / ".cache" / "huggingface" / ".gitignore").write_text("*")
    assert check_model(made)[0] == ()
    assert model_manifest(made) == before


def test_every_fault_is_found_at_once_in_the_order_of_the_rules(folder: Path) -> None:
    made = folder / "model"
    hostile.make_model(made)
    for name in ("tree/fifo", "json/wrong-type", "st/hole", "tok/replace"):
        next(attack for attack in hostile.ATTACKS if attack.name == name).make(made)
    hostile.setting("tokenizer_config.json", chat_template="x" * (65 << 10))(made)  # the fifo stands for the other
    found = [fault.code for fault in check_model(made)[0]]
    assert found == ["FILE_NOT_REGULAR", "CONFIG_BOUNDS", "ST_COVERAGE", "TOKENIZER_REWRITES", "TEMPLATE_UNSTABLE"]


NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
INT8 = {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}


@pytest.mark.parametrize("found", [NF4, INT8, {**NF4, "quant_method": "custom"}, "bitsandbytes", {}])
@pytest.mark.parametrize("declared", [None, "nf4", "int8"])
def test_weights_saved_in_a_quantised_form_are_refused_whatever_is_declared(
    declared: str | None, found: Any, folder: Path
) -> None:
    made = folder / "model"
    hostile.make_model(made)
    hostile.setting("config.json", quantization_config=found)(made)
    model = ModelRef("causal", str(made), None, None, None, "plain", "float32", declared)
    (fault,) = check_submission_files(Submission("a", "", "", b"", model, None))
    assert fault.code == "QUANTIZATION"


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({"base_model_name_or_path": "/home/somebody/base"}, True),
        ({"base_model_name_or_path": "./base"}, True),
        ({"base_model_name_or_path": None}, True),
        ({"megatron_core": "megatron.core", "auto_mapping": None, "loftq_config": {}}, True),
        ({"a_switch_of_a_later_version": False}, True),
        ({"target_modules": []}, False),
        ({"target_modules": ["q_proj", "v_proj", "gone_proj"]}, False),
        ({"r": True}, False),
        ({"lora_alpha": "16"}, False),
        ({"task_type": "SEQ_CLS"}, False),
        ({"rank_pattern": {"v_proj": 2}}, False),
        ({"layers_to_transform": [1]}, False),
    ],
)
def test_settings_of_an_adapter(folder: Path, model_facts: Any, change: dict[str, Any], accepted: bool) -> None:
    hostile.make_adapter(folder / "adapter")
    hostile.setting("adapter_config.json", **change)(folder / "adapter")
    faults, _ = check_adapter(folder / "adapter", model_facts, base="example/base")
    assert (faults == ()) is accepted


def test_the_manifest_is_that_of_canonical_over_the_files_that_are_loaded(folder: Path) -> None:
    made = folder / "model"
    hostile.make_model(made)
    (made / "README.md").write_text("not loaded")
    loaded = ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert model_manifest(made) == manifest({name: made / name for name in loaded})
    hostile.make_adapter(folder / "adapter")
    loaded = ["adapter_config.json", "adapter_model.safetensors"]
    assert adapter_manifest(folder / "adapter") == manifest({name: folder / "adapter" / name for name in loaded})


def test_a_manifest_of_a_folder_at_fault_is_refused(folder: Path) -> None:
    hostile.make_model(folder / "model")
    hostile.symlink(folder / "model")
    with pytest.raises(InvalidInput) as refused:
        model_manifest(folder / "model")
    assert [fault.code for fault in refused.value.faults] == ["FILE_NOT_REGULAR"]


def test_a_whole_submission_is_checked_with_its_adapter(folder: Path) -> None:
    hostile.make_model(folder / "model")
    hostile.make_adapter(folder / "adapter")
    both = submission(folder / "model", adapter=folder / "adapter")
    assert check_submission_files(both) == ()
    pinned = submission(folder / "model", adapter=folder / "adapter", adapter_digest="sha256:" + "0" * 64)
    (fault,) = check_submission_files(pinned)
    assert (fault.code, fault.path) == ("DIGEST_MISMATCH", "$.adapter.digest")
    hostile.setting("adapter_config.json", base_model_name_or_path="example/other")(folder / "adapter")
    assert check_submission_files(both) == ()  # a folder has no name to compare with
    (fault,) = check_submission_files(submission(None, adapter=folder / "adapter"))
    assert fault.code == "ADAPTER_BASE"


def test_the_manifest_of_a_submission_holds_both_folders_and_keeps_the_pins(folder: Path) -> None:
    hostile.make_model(folder / "model")
    hostile.make_adapter(folder / "adapter")
    both = submission(folder / "model", adapter=folder / "adapter")
    files = submission_manifest(both, folder / "model", folder / "adapter")
    loaded = [f"model/{entry['name']}" for entry in model_manifest(folder / "model")]
    assert [entry["name"] for entry in files] == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        *loaded,
    ]
    assert files == manifest({entry["name"]: folder / entry["name"] for entry in files})
    wrong = submission(folder / "model", digest="sha256:" + "0" * 64)
    with pytest.raises(InvalidInput) as refused:
        submission_manifest(wrong, folder / "model", None)
    assert [fault.code for fault in refused.value.faults] == ["DIGEST_MISMATCH"]


def test_what_was_fetched_is_checked_like_a_folder_of_ones_own(folder: Path) -> None:
    hostile.make_model(folder / "fetched")
    from_hub = submission(None)
    assert check_submission_files(from_hub) == ()
    assert check_folders(from_hub, folder / "fetched", None) == ()
    hostile.symlink(folder / "fetched")
    assert [fault.code for fault in check_folders(from_hub, folder / "fetched", None)] == ["FILE_NOT_REGULAR"]


def test_a_missing_folder_is_one_fault(tmp_path: Path) -> None:
    (fault,) = check_submission_files(submission(tmp_path / "nowhere"))
    assert fault.code == "FILE_MISSING"
    assert [fault.code for fault in check_adapter(tmp_path / "nowhere", None)[0]] == ["FILE_MISSING"]


def test_the_folder_itself_may_be_reached_through_a_link(folder: Path) -> None:
    hostile.make_model(folder / "real")
    (folder / "link").symlink_to("real")
    assert check_model(folder / "link")[0] == ()


def test_a_strange_name_is_shown_escaped(folder: Path) -> None:
    made = Path(os.fsdecode(os.fsencode(folder) + b"/\x1b[31m\xff\n"))
    hostile.make_model(made)
    (made / "config.json").unlink()
    (fault,) = check_model(made)[0]
    assert fault.code == "FILE_MISSING"
    assert str(fault).isprintable()


# --- rule 1, whose fixtures are files that name their own faults ------------------------------------------------------

YAML = {
    "yaml/large": "More than 64 KiB",
    "yaml/two-docs": "A second document",
    "yaml/python-tag": "`!!python/object/apply:os.system`",
    "yaml/plain-tag": "Any other tag",
    "yaml/alias-bomb": "An alias bomb: a few hundred bytes that grow without end",
    "yaml/self-alias": "An alias to what it stands in",
    "yaml/merge-key": "A merge key",
    "yaml/duplicate-key": "A key given twice, the second of which counts for some readers",
    "yaml/deep": "Thousands of brackets",
    "yaml/key-list": "A list as a key",
    "yaml/norway-no": "`no`, which is false to some readers",
    "yaml/scalar-sexagesimal": "`1:30`, which is 90 to some readers",
    "yaml/scalar-nan": "`.nan` as a number",
    "yaml/scalar-overflow": "A number that is infinite once read",
    "yaml/version-float": "A version that is a number",
    "yaml/line-separator": "A line break that only some readers see",
    "submission/typo": "A key that is not known",
    "submission/revision-number": "A revision that is a number",
    "submission/revision-branch": "A branch, which moves, in place of a revision",
    "submission/path-escapes": "A path that leads out of the submission's folder",
    "submission/repository-escape": "A repository named like a path",
}


def example(name: str, folder: Path) -> Path:
    if name != "yaml/large":
        return PAGE.parents[1] / "tests" / "examples" / "invalid" / f"{name}.yaml"
    path = folder / "large.yaml"
    path.write_bytes(b"name: " + b"x" * (64 << 10))
    return path


# --- rule 12: predictions that do not answer what was asked -----------------------------------------------------------

ROWS: dict[str, tuple[str, Callable[[list[bytes]], list[bytes]]]] = {
    "rows/missing": ("An item without an answer", lambda rows: rows[1:]),
    "rows/twice": ("An item answered twice", lambda rows: [rows[0], *rows]),
    "rows/unknown": ("An item that nobody asked", lambda rows: [rows[0].replace(b"-test-0001", b"-test-none"), *rows]),
    "rows/other-task": (
        "A task that the benchmark does not have",
        lambda rows: [rows[0].replace(b'"dilemmas"', b'"x"')],
    ),
    "rows/nan": ("NaN as a score", lambda rows: [rows[0].replace(b'"log_scores":[', b'"log_scores":[NaN,'), *rows]),
    "rows/masked": ("A score of −3e38", lambda rows: [rows[0].replace(b'"log_scores":[', b'"log_scores":[-3e38,')]),
    "rows/field": ("A field that is not known", lambda rows: [rows[0].replace(b'{"', b'{"counts":[5,0],"', 1), *rows]),
}


def row_codes(name: str, folder: Path) -> list[str]:
    sound = (PAGE.parents[1] / "tests" / "golden" / "sample-predictions.jsonl").read_bytes().splitlines(keepends=True)
    spoilt = ROWS[name][1](sound)
    assert spoilt != sound
    (folder / "rows.jsonl").write_bytes(b"".join(spoilt))
    with pytest.raises(InvalidInput) as refused:
        score_file(folder / "rows.jsonl", factories.choice(), None, folder, None, lambda: factories.KEY)
    return sorted({fault.code for fault in refused.value.faults})


def page(folder: Path) -> str:
    """docs/hostile-submissions.md, from the attacks."""

    def row(rule: str, what: str, codes: Iterable[str], name: str, stage: str) -> str:
        shown = ", ".join(f"`{code}`" for code in codes)
        return f"| {rule} | {what} | {shown} | {STAGES[stage]} | `{name}` | {hostile.KNOWN.get(name, '')} |"

    def rows(attacks: Iterable[Any]) -> list[str]:
        return [row(attack.rule, attack.what, attack.codes, attack.name, attack.stage) for attack in attacks]

    yaml = [
        row("1", what, dict.fromkeys(fault.code for fault in check_file(example(name, folder))), name, "files")
        for name, what in YAML.items()
    ]
    answers = [row("12", what, row_codes(name, folder), name, "score") for name, (what, _) in ROWS.items()]
    stopped = [
        f"| {', '.join(sorted(attempts))} | `{protection}` |"
        for protection, attempts in hostile_code.STOPPED_BY.items()
    ]
    special = [
        f"| `{name}` | {', '.join(sorted({f'`{_command(words)}`' for _, words in commands}))} |"
        for name, commands in special_files.READ_BY.items()
    ]
    parts = [INTRODUCTION, yaml, rows(hostile.ATTACKS), NEVER_LOADED, rows(hostile.HARMLESS)]
    parts += [IN_A_RUN, rows(hostile.DYNAMIC), answers, IN_ITS_PROCESS]
    groups = [
        f"| {number} | {group.before} | {group.now} | {', '.join(f'`{each}`' for each in group.shown_by)} |"
        for number, group in enumerate(attack_groups.GROUPS, 1)
    ]
    parts += [rows(hostile.MISBEHAVIOUR), TRIES, stopped, SPECIAL, special, MENDED, groups, END, [""]]
    return "\n".join(line for part in parts for line in part)


def _command(words: Sequence[str]) -> str:
    groups = ("archive", "data", "keys")
    return " ".join(words[: 2 if words[0] in groups else 1])


STAGES = {
    "files": "the files are looked at",
    "load": "the model is loaded",
    "plan": "the prompts are read",
    "predict": "answers are given",
    "check": "some prompts are asked again",
    "after": "the files are hashed again",
    "score": "the rows are scored",
    "never": "nothing loads it",
}
HEAD = (
    "| rule | what is tried | error | stopped when | fixture | known as |",
    "| --- | --- | --- | --- | --- | --- |",
)


INTRODUCTION = (
    "# What a submission may not hold",
    "",
    "`benchmark validate` looks at the folders a submission names, and `benchmark evaluate` does the same with what it",
    "fetched, before any library opens a file. It reads names, JSON files and the headers of safetensors files; no",
    "tensor is read and nothing is run. All faults are reported at once. Every row is a folder that",
    "`tests/support/hostile_submissions.py` makes; the test that checks them writes this page (`--update-golden`).",
    "",
    "Rules: 1 YAML, 2 the tree of files, 3 the bytes, 4 JSON files, 5 safetensors, 6 adapters, 7 what a loader would",
    "hide, 8 tokenizer and chat template, 9 generation settings, 10 what is out of reach, 11 the process that holds",
    "the model, 12 answers. Names under *known as* are those of public reports; no database of them was consulted.",
    "",
    *HEAD,
)
NEVER_LOADED = (
    "",
    "## What is never loaded, and so does no harm",
    "",
    "The libraries are given a private folder, never the submitted one. It holds config.json with the keys that the",
    "configuration class of the architecture takes, tokenizer_config.json and adapter_config.json likewise, the",
    "tokenizer and the template as they were hashed, and links to the open handles of the weights that were hashed.",
    "All else that lies in a submitted folder is ignored: it is not opened, and not part of the digest. `validate`",
    "lists it. For each row a test shows that the private folder is that of the sound submission to the byte. Rule 9:",
    "with a `generation_config.json` that suppresses tokens and forces a first one, every score is the same to the bit",
    "(`gen/suppress-tokens`, in `test_hostile_runs.py`).",
    "",
    *HEAD,
)
IN_A_RUN = (
    "",
    "## What only shows in a run",
    "",
    "The model is loaded and asked in a process of its own. There the tokenizer and the chat template are held to what",
    "they should be on every prompt, in bounded time and memory, before the model is asked anything. A run that fails",
    "leaves no score. A regular expression is refused by looking only for nested repetition; here by what it does.",
    "Predictions that come as a file are held to the same: each item is answered once, in finite numbers.",
    "",
    *HEAD,
)
IN_ITS_PROCESS = (
    "",
    "## What code in the model's process could do",
    "",
    "No file that is accepted can bring code with it. If a library had a hole all the same, the process that holds the",
    "model could not read the data, the signing key, or anything of the process that started it; it has no network,",
    "starts no program, writes no file to speak of, and answers are taken only for what was asked. `SECURITY.md` says",
    "what each of this rests on.",
    "",
    *HEAD,
)
TRIES = (
    "",
    "Rule 10: code in the place of the model's tries the following (`tests/support/sandbox_probes.py`), with the",
    "protections and without; without, all of it succeeds that an ordinary process of the user may do. And with the",
    "check of files switched off, whole submissions reach for the labels, the key, the network and the environment",
    "through weights, tokenizer, template and adapter (`tests/artifacts/test_exfiltration.py`): none gets anything;",
    "and where one would but for a protection, it is shown that without the protection it does.",
    "",
    "| what is tried | stopped by |",
    "| --- | --- |",
)
SPECIAL = (
    "",
    "## What stands in the place of a file",
    "",
    f"In the place of each of these, {', '.join(special_files.KINDS)}",
    "was put (`tests/support/special_files.py`). None is waited for, and of none more is read than a file there may",
    "have: a predictions file beside a card, for one, is read no further than about the rows that the card has. An",
    "archive's objects are exchanged alike, and `archive check` names them. A key may still come through a pipe that",
    "the command was handed (`--key /dev/fd/3`).",
    "",
    "| in the place of | refused by |",
    "| --- | --- |",
)
MENDED = (
    "",
    "## What attacks found, and what shows that it is mended",
    "",
    "Twelve groups of faults were found by attacking earlier states of this program. Each has fixtures of the tables",
    "above, or tests that `pytest NAME` runs (`tests/support/attack_groups.py`).",
    "",
    "| group | before | now | shown by |",
    "| --- | --- | --- | --- |",
)
END = (
    "",
    "No check of files or processes finds a model that was trained on the test rows.",
)


@pytest.mark.parametrize("name", YAML)
def test_yaml_that_is_listed_is_refused_before_any_folder_is_opened(name: str, tmp_path: Path) -> None:
    assert check_file(example(name, tmp_path))


@pytest.mark.parametrize("group", attack_groups.GROUPS, ids=lambda group: group.before[:30])
def test_what_is_said_to_show_a_mended_fault_exists(group: attack_groups.Group) -> None:
    fixtures = {attack.name for attack in (*hostile.ATTACKS, *hostile.HARMLESS, *hostile.DYNAMIC)}
    for each in group.shown_by:
        file, _, name = each.partition("::")
        assert f"\ndef {name}(" in ROOT.joinpath(file).read_text(encoding="utf-8") if name else file in fixtures, each


@pytest.mark.slow
def test_the_page_lists_every_attack(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    assert set(hostile.KNOWN) <= {
        *YAML,
        *(attack.name for attack in (*hostile.ATTACKS, *hostile.HARMLESS, *hostile.DYNAMIC)),
    }
    if request.config.getoption("--update-golden"):
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(tmp_path), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(tmp_path), "run pytest with --update-golden"
