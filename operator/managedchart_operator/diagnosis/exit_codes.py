"""Exit codes of containers in plain words.

Boundary: pure. Source: bash's and Docker's conventions: 128 + number of the signal; 126 and 127 from the attempt to run.
"""

_MEANINGS = {
    0: "it ended by itself although it should keep running",
    1: "the program ended with an error of its own",
    2: "the program was called with wrong arguments, or ended with an error of its own",
    126: "the command is there but cannot be executed (permissions, or no program)",
    127: "the command was not found in the image",
    130: "it was interrupted (SIGINT)",
    134: "the program aborted itself (SIGABRT)",
    137: "it was killed (SIGKILL): out of memory, or it did not stop in time",
    139: "the program crashed on a memory access (SIGSEGV)",
    143: "it was told to stop (SIGTERM)",
}


def explain_exit_code(code: int, *, out_of_memory: bool = False) -> str:
    """Return what an exit code means, as part of a sentence."""
    if out_of_memory:
        return "it used more memory than its limit allows and was killed"
    if code in _MEANINGS:
        return _MEANINGS[code]
    if code > 128:
        return f"it was ended by signal {code - 128}"
    return "the program ended with an error of its own"
