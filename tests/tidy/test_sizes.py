"""How big things may get before they must be split."""

import ast

from tests.tidy.source import functions, modules, program

SOURCE_LINES_MAX = 500
TEST_LINES_MAX = 800
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 7

# The one file that may not be split: an auditor must be able to read and carry the verifier as it is.
VERIFIER_LINES_MAX = 800


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    """What separates tired code from healthy code is the tail of long files; a long one becomes a package."""
    limits = [(m, VERIFIER_LINES_MAX if m.path.name == "verify.py" else SOURCE_LINES_MAX) for m in program()]
    limits += [(m, TEST_LINES_MAX) for m in modules("tests", "benchmarks", "examples")]
    too_long = [
        f"{module.place}: {lines} lines, at most {limit}"
        for module, limit in limits
        if (lines := module.text.count("\n")) > limit
    ]
    assert not too_long, "\n".join(too_long)


def test_no_function_is_longer_than_a_screen() -> None:
    """A function is read at once or not at all. The docstring is not counted: explaining is never too long."""
    too_long = []
    for module in program():
        for function in functions(module):
            body = (
                function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
            )
            signature = function.body[0].lineno - function.lineno
            lines = signature + (function.end_lineno or 0) - body[0].lineno + 1
            if lines > FUNCTION_LINES_MAX:
                too_long.append(f"{module.place}:{function.lineno} {function.name}: {lines} lines")
    assert not too_long, "\n".join(too_long)


def test_no_function_takes_more_than_seven_parameters() -> None:
    """Beyond seven, some of them belong together and want a name of their own."""
    too_many = []
    for module in program():
        for function in functions(module):
            arguments = function.args
            names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            count = len([name for name in names if name not in {"self", "cls"}])
            # A command's parameters are its options, and click calls it; nobody else does.
            is_command = any("command" in ast.unparse(d) for d in function.decorator_list)
            if count > PARAMETERS_MAX and not is_command:
                too_many.append(f"{module.place}:{function.lineno} {function.name}: {count} parameters")
    assert not too_many, "\n".join(too_many)
