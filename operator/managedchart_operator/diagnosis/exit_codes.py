"""Explains exit codes of containers.

Source: conventions of bash and Docker: 128 + number of the signal; 126 and 127 when the command could not be run.
"""

_MEANINGS = {
    0: "the program ended successfully although it should keep running",
    1: "the program failed with an error of its own",
    2: "the program was called with wrong arguments, or failed with an error of its own",
    126: "the command exists but cannot be executed (permissions, or not a program)",
    127: "the command was not found in the image",
    130: "the program was interrupted (SIGINT)",
    134: "the program aborted itself (SIGABRT)",
    137: "the program was killed (SIGKILL): out of memory, or it did not stop in time",
    139: "the program crashed on a memory access (SIGSEGV)",
    143: "the program was asked to stop (SIGTERM)",
}


def explain_exit_code(code: int, *, out_of_memory: bool = False) -> str:
    """Return what an exit code means, as part of a sentence."""
    if out_of_memory:
        return "the program was killed because it used more memory than its limit allows"
    if code in _MEANINGS:
        return _MEANINGS[code]
    if code > 128:
        return f"the program was ended by signal {code - 128}"
    return "the program failed with an error of its own"
