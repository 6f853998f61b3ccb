"""What attacks on earlier states of the program found, group by group, and what shows that each is mended."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """A kind of attack."""

    before: str
    """What happened."""
    now: str
    """What happens in its place."""
    shown_by: tuple[str, ...]
    """Fixtures (`json/million-layers`) and tests (`tests/cli/test_output.py::test_…`)."""


_FINETUNE = "tests/training/test_finetune.py"
_OUTPUT = "tests/cli/test_output.py"

GROUPS = (
    Group(
        "A key of config.json led the library to weights in a folder that nobody checked or hashed",
        "The library is given a private folder of what was hashed, and settings written from known keys",
        (
            "tree/other-weights",
            "json/own-name",
            "tests/artifacts/test_hostile_folders.py::test_what_is_never_loaded_is_not_there_for_the_library",
            "tests/artifacts/test_exchanged_files.py::test_no_card_speaks_of_other_bytes_than_those_measured",
            f"{_FINETUNE}::test_a_base_that_changes_meanwhile_is_in_no_result",
        ),
    ),
    Group(
        "An adapter of zeros got a card",
        "It is seen in its file; any other without effect is found in one and the same batch",
        (
            "load/zero-adapter",
            "load/tiny-adapter",
            "tests/models/local/test_adapters.py::test_an_adapter_of_zeros_is_seen_in_its_file",
        ),
    ),
    Group(
        "The tokenizer dropped letters of some prompts, since one prompt in 256 was checked",
        "Every prompt is checked",
        ("tok/forgets-a-letter", "tests/models/tokenization/test_token_text.py::test_what_is_dropped_is_found"),
    ),
    Group(
        "A token for the whole text of each item held its answer",
        "Added tokens inside an item are text, and a token holds letters of one word only",
        (
            "tok/knows-a-phrase",
            "tests/models/tokenization/test_real_vocabularies.py::test_no_token_of_a_true_vocabulary_is_oversized",
        ),
    ),
    Group(
        "The model's process could change modes, owners and times of files, and leave memory behind",
        "Calls are an allow-list from the kernel's tables; what else is left open is listed in SECURITY.md",
        (
            "tests/models/worker/test_system_calls.py::test_every_number_is_the_kernels",
            "tests/models/worker/test_system_calls.py::test_the_filter_does_what_the_lists_say",
            "tests/models/worker/test_isolation.py::test_every_protection_of_this_machine_holds",
        ),
    ),
    Group(
        "Sizes in config.json had no bounds: a load grew for an hour",
        "Sizes have bounds, and loading may take memory in proportion to the weights only",
        (
            "json/billion-labels",
            "json/million-layers",
            "json/layers-lie",
            "tests/models/local/test_architectures.py::test_a_model_larger_than_its_weights_is_refused_before_memory_is_taken",
        ),
    ),
    Group(
        "A FIFO in the place of a card, a keyring, a key or predictions was waited for",
        "It is refused at once, and files that are too large are refused before they are read",
        ("tests/cli/test_special_files.py::test_it_is_refused_at_once",),
    ),
    Group(
        "Output that is not UTF-8, and a closed pipe, changed the exit code",
        "The exit code is the same",
        (
            f"{_OUTPUT}::test_every_command_ends_as_ever_whatever_the_encoding",
            f"{_OUTPUT}::test_every_command_ends_as_ever_when_nobody_reads_on",
        ),
    ),
    Group(
        "Tensors that are missing, doubled or unknown to the model passed in silence",
        "Each is a fault; those known to be harmless are named",
        ("load/missing-tensor", "load/twin-tensor", "load/unexpected-tensor", "load/lora-in-base"),
    ),
    Group(
        "Faults of config.json were a stack of the library after loading",
        "They are told before, by the key's name",
        (
            "json/wrong-type",
            "json/negative",
            "json/true-heads",
            "json/shape-lie",
            "tests/artifacts/test_config_keys.py::test_values_beyond_what_any_model_has",
        ),
    ),
    Group(
        "Unseen characters on pages; parts that a killed `archive add` left; `finetune` after a late kill; archives "
        "that unpack to gigabytes; a key that cannot be written; a hangup",
        "They are spelled out; named; finished; refused early; exit code 3; told, with exit code 5",
        (
            "tests/core/test_text.py::test_two_names_that_look_alike_are_told_apart",
            "tests/report/html/test_card_page.py::test_names_of_a_stranger_stay_text",
            "tests/archive/test_objects_bounds.py::test_what_a_killed_writer_left_is_named",
            f"{_FINETUNE}::test_a_training_that_was_killed_after_its_last_write_is_finished",
            "tests/archive/test_objects_bounds.py::test_a_small_file_that_unpacks_to_much_is_refused_in_little_memory",
            "tests/signing/test_keys.py::test_a_key_that_cannot_be_written_leaves_nothing",
            f"{_OUTPUT}::test_a_stop_is_said_and_is_exit_code_5",
        ),
    ),
    Group(
        "Probabilities or logits as `log_scores` were scored; a smaller last batch weighed as much as a full one",
        "They are refused unless `--scale` says so; a step is a mean over its prompts",
        (
            "tests/tasks/test_predictions.py::test_scores_that_are_no_log_probabilities_are_refused_unless_told",
            f"{_FINETUNE}::test_a_step_is_a_mean_over_its_prompts_also_where_the_last_batch_is_smaller",
        ),
    ),
)
