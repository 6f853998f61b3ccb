"""A fault is one line for people, and each error has the exit code that the README promises."""

import pytest

from runner.core import errors
from runner.core.errors import Fault, InvalidInput, UserError, raise_faults


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("X", "Wrong."), "Wrong. [X]"),
        (Fault("X", "Wrong.", "a.yaml"), "a.yaml: Wrong. [X]"),
        (Fault("X", "Wrong.", "a.yaml", 3), "a.yaml:3: Wrong. [X]"),
        (Fault("X", "Wrong.", "a.yaml", 3, 4), "a.yaml:3:4: Wrong. [X]"),
        (Fault("X", "Wrong.", path="$.a"), "$.a: Wrong. [X]"),
        (Fault("X", "Wrong.", hint="Mend it."), "Wrong. Mend it. [X]"),
        (Fault("X", "Wrong.", "a.yaml", 3, 4, "$.a", "Mend it."), "a.yaml:3:4: $.a: Wrong. Mend it. [X]"),
    ],
)
def test_a_fault_is_one_line(fault: Fault, text: str) -> None:
    assert str(fault) == text
    assert text.startswith(fault.place())


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("InvalidInput", 1),
        ("BackendError", 3),
        ("OutputError", 3),
        ("VerificationError", 4),
        ("NotComparable", 4),
        ("Interrupted", 5),
    ],
)
def test_exit_codes(name: str, code: int) -> None:
    error = getattr(errors, name)(Fault("X", "One."), Fault("Y", "Two."))
    assert isinstance(error, UserError)
    assert error.exit_code == code
    assert [fault.code for fault in error.faults] == ["X", "Y"]
    assert str(error) == "One. [X]\nTwo. [Y]"


def test_an_error_without_a_fault_is_a_bug() -> None:
    with pytest.raises(ValueError, match="at least one fault"):
        InvalidInput()


def test_no_fault_raises_nothing_and_all_are_raised_at_once() -> None:
    raise_faults([])
    raise_faults(iter(()))
    with pytest.raises(InvalidInput) as raised:
        raise_faults(Fault(code, "Wrong.") for code in "AB")
    assert [fault.code for fault in raised.value.faults] == ["A", "B"]
