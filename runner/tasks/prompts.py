"""Fill a logic-free template from an item, once for every prompt and order of its task."""

from collections.abc import Iterable, Iterator, Sequence
from string import Template

from runner.core.benchmark_types import PromptSpec
from runner.core.canonical import sha256_bytes
from runner.core.types import Item, Prompt, SamplingFormat, VerbalizedFormat
from runner.tasks import verbalized


def prompts_of(
    spec: PromptSpec, labels: tuple[str, ...], split: str, item: Item, examples: Sequence[Item] = ()
) -> Iterator[Prompt]:
    """The prompts that `spec` puts for `item`, one per order; `options` come back in the order of `labels`.

    `examples` stand before the question in the same order of presentation, each with the answer of most people.
    """
    texts = {label: Template(shows).substitute(item.fields) for label, shows in spec.shows.items()}
    for number, order in enumerate(spec.orders):
        options = {
            f"option_{position}": texts[label] for position, label in enumerate(order, start=1) if label in texts
        }
        by_label = tuple(spec.options[order.index(label)] for label in labels)
        yield Prompt(
            task=spec.task,
            split=split,
            item_id=item.id,
            prompt_id=spec.name,
            order=number,
            template="".join(_shown_example(spec, labels, number, example) for example in examples) + spec.template,
            values={**item.fields, **options},
            cue_plain=spec.cue_plain,
            cue_chat=spec.cue_chat,
            options=by_label if spec.max_new_tokens is None else (),
            max_tokens=spec.max_tokens,
            shorten=spec.shorten,
            labels=labels,
            shown=tuple(texts[label] for label in labels) if len(texts) == len(labels) else (),
            writing=writing_of(spec, labels, number),
            sampling=sampling_of(spec, labels, number),
        )


def _shown_example(spec: PromptSpec, labels: tuple[str, ...], order: int, item: Item) -> str:
    """An item with its question and answer, as a piece of a template before the question."""
    [prompt] = [made for made in prompts_of(spec, labels, "", item) if made.order == order]
    if prompt.writing is not None:
        counts = [item.counts[label] for label in prompt.writing.labels]
        answer = " " + verbalized.write(verbalized.whole_percentages(counts), prompt.writing.names)
    else:
        majority = item.counts.index(max(item.counts))
        forms = prompt.options if prompt.sampling is None else prompt.sampling.answers
        answer = forms[majority][0] if prompt.sampling is None else f" {forms[majority][0]}"
    return (text(prompt) + prompt.cue_plain + answer + "\n\n").replace("$", "$$")


def writing_of(spec: PromptSpec, labels: tuple[str, ...], order: int) -> VerbalizedFormat | None:
    """How the distribution is written in one order of a verbalized prompt; None for any other."""
    if spec.max_new_tokens is None or spec.zero_percent is None:
        return None
    return VerbalizedFormat(
        names=tuple(forms[0] for forms in spec.options),
        labels=tuple(labels.index(label) for label in spec.orders[order]),
        zero_percent=spec.zero_percent,
        max_new_tokens=spec.max_new_tokens,
    )


def sampling_of(spec: PromptSpec, labels: tuple[str, ...], order: int) -> SamplingFormat | None:
    """How answers are drawn in one order of a sampled prompt; None for any other. Orders share the samples alike."""
    if spec.samples is None or spec.max_new_tokens is None:
        return None
    return SamplingFormat(
        answers=tuple(spec.options[spec.orders[order].index(label)] for label in labels),
        samples=spec.samples // len(spec.orders),
        temperature=spec.temperature,
        top_p=spec.top_p,
        max_new_tokens=spec.max_new_tokens,
    )


def all_prompts(
    specs: Iterable[PromptSpec],
    labels: tuple[str, ...],
    split: str,
    items: Iterable[Item],
    examples: Sequence[Item] = (),
) -> Iterator[Prompt]:
    """Every prompt of every item, prompt by prompt, order by order within an item."""
    all_items = list(items)
    for spec in specs:
        for item in all_items:
            yield from prompts_of(spec, labels, split, item, examples[: spec.few_shot])


def text(prompt: Prompt, keep: int | None = None) -> str:
    """The question as the model reads it, without the cue.

    `keep` cuts the end of the field named by `prompt.shorten` to that many characters; only that field is ever cut.
    """
    values = dict(prompt.values)
    if keep is not None and prompt.shorten is not None:
        values[prompt.shorten] = values[prompt.shorten][:keep]
    return Template(prompt.template).substitute(values)


def prompt_sha256(prompt: Prompt) -> str:
    """Hex sha256 of the uncut question with its plain cue: the same for every model."""
    return sha256_bytes((text(prompt) + prompt.cue_plain).encode())
