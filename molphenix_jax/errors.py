"""The root of errors that a user can mend, and the sentence that a command ends with."""

import errno

# What comes of writing to a disk, and what helps.
_REMEDY = {
    errno.ENOSPC: "free some space on that disk, or choose another folder",
    errno.EDQUOT: "your quota there is used up: free some space, or choose another folder",
    errno.EFBIG: "the file would be larger than that disk or your limits (ulimit -f) allow",
    errno.ENOENT: "check the path",
    errno.EMFILE: "raise the number of files that may be open (ulimit -n)",
    errno.ENOMEM: "close other programs, or take a machine with more memory",
    errno.EIO: "the disk reports a fault",
}


class InputError(ValueError):
    """Something that the user gave cannot be used; the message says what, where and the remedy."""


def first_line(error: BaseException, *, most: int = 200) -> str:
    """What an error says in its first line, or its type where it says nothing."""
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0][:most]


def sentence_of(error: BaseException) -> str | None:
    """What a command tells of an error that its files, disk or memory caused; None of others.

    An `OSError` names its file; of memory, what was asked for is named where it is known.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        asked = f" ({first_line(error)})" if str(error) else ""
        return (
            f"the memory does not suffice{asked}: lower train.batch_size, train.members or "
            "the widths of the model, or take a machine with more memory"
        )
    if isinstance(error, OSError):
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        reason = error.strerror or str(error) or type(error).__name__
        remedy = _REMEDY.get(error.errno or 0, "check that it is there and that you may use it")
        return f"{' and '.join(names) or 'a file'}: {reason}; {remedy}"
    return None
