"""What credentials look like, whoever's they are: keys of well-known forms, passwords in URLs, values after a telling name.

Every pattern begins at a place of its own, not at each character of a long word, so that its search costs no more than the
text is long. What the API server, a schema or a program says about a field with a telling name is not a credential, except for
the value that it repeats.
"""

import re

MASK = "***"

KEYS = r"pass(?:word|wd|phrase)?|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|client[-_]?secret"
# What follows such a name. The search is fast because it ignores no case: the text is in lower case already.
_NAMED = re.compile(rf"(?:{KEYS})(?:\\{{0,8}}[\"']|\])?\s{{0,8}}[=:]")
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
# A word with "=" before it is a value itself, like the kind in "Kind=Secret: …"
_NAME = re.compile(r"[\w-]{0,64}(=|[^\w-]|$)")
_QUOTED = r"""(?P<quote>\\*["'])[\s\S]{0,2048}?(?<!\\)(?P=quote)"""
# In quotes of any depth (\\\"…\\\"), else up to the next separator; not what is masked already.
_VALUE = re.compile(
    rf"""\s{{0,64}}(?P<value>(?!\*\*\*(?:[\s,;:&"'\\)\]}}]|$))(?:{_QUOTED}[^\s,;:&"'\\)\]}}]*"""
    r"""|[^\s,;&"'\\]{1,4096}|\\*["'][^\s,;&]{1,4096}))"""
)
# The value that the API server repeats, as in spec.credential: Invalid value: "…": …
_REPEATED = re.compile(
    r"\s?(?:Invalid value|Unsupported value|Duplicate value|Not found|Too long|Too many):\s(?P<value>(?!\*\*\*)"
    rf"""(?:{_QUOTED}|(?:map)?[{{\[].{{0,4096}}?[}}\]](?=:\s|,\s|$)|[^\s,;:&"'\\]{{1,4096}}|\\*["'][^\s,;&]{{1,4096}}))""",
    re.MULTILINE,
)
# With what a sentence about a field begins, instead of its value: the API server's field errors, JSON schemas, Go and helm.
_WORDS = r"""
    a|already|an|are|at|authentication|authorization|bad|base64|be|being|can't|cannot|certificate|config|
    configmap|connect|connection|contains|context|could|couldn't|credential|credentials|decode|decoding|default|
    denied|deprecated|dial|does|doesn't|duplicate|either|empty|eof|error|exec|expected|expired|failed|false|
    field|file|for|forbidden|fork|found|get|got|has|have|head|http|https|if|illegal|in|incorrect|internal|
    invalid|is|isn't|it|it's|json|key|length|lookup|malformed|maximum|maxItems|maxLength|may|minimum|
    minItems|minLength|missing|more|must|name|namespace|need|needs|net|nil|no|non-existent|none|not|null|
    object|only|open|optional|or|parse|parsing|password|passwords|permission|post|provide|read|reading|
    refused|rejected|request|required|resource|rpc|secret|secrets|server|service|serviceaccount|should|stat|
    strconv|string|the|this|timed|timeout|tls|token|tokens|too|true|type|unable|unauthorized|undefined|
    unexpected|unknown|unrecognized|unset|unsupported|use|user|value|values|was|while|will|would|wrong|x509|
    yaml|you
"""
_SENTENCE = re.compile(
    rf"\s*(?:{''.join(_WORDS.split())})(?![\w=/+@$!#%^*-])"
    r"|\s*[\w.\[\]-]{1,512} in body (?:must|should|is) "  # the API server's, after the name of the field
    r"|\s*[1-5]\d\d [A-Z]"  # HTTP's
    r"|\s?(?:(?:Invalid|Unsupported|Duplicate) value|Not found|Too long|Too many):",
    re.IGNORECASE,
)

_PRIVATE_KEY_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY-----")
_KEY_MATERIAL = re.compile(r"[A-Za-z0-9+/=\s\\]*")
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # PEM blocks of any private key, also without their end
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$(?!\n))", re.DOTALL
        ),
        MASK,
    ),
    # credentials before the host of a URL; not a port, whose path may have an @
    (
        re.compile(
            r"""(://)[^\s/:@"'\\]{0,256}+:(?!\d{1,5}(?:[/?#\s]|$))"""
            r"""(?:(?:[^\s/@"'\\]{0,256}+@)+|[^\s@"'\\]{1,128}+@)(?=[\w\[.-])"""
        ),
        rf"\1{MASK}@",
    ),
    # Authorization headers, bearer and basic tokens; not a word in a sentence
    (re.compile(r"\b((?i:bearer|basic)\s{1,8})(?=[\w.~+/-]{0,512}[0-9A-Z=])[A-Za-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    # JSON web tokens
    (re.compile(r"(?<![\w-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"), MASK),
    # keys of a well-known form: AWS, GitHub, Slack, Google
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{30,}"), MASK),
    # Docker Hub's rate-limit text names the account and its token (seen by users of kubedog)
    (re.compile(r"(pull rate limit as )'[^'\n]{0,256}'(?:: [^\s]{1,512})?"), rf"\1{MASK}"),
)


def mask_credentials(text: str) -> str:
    """Return the text without what looks like a credential."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return _without_named_values(_without_ends_of_keys(text))


def _without_named_values(text: str) -> str:
    """Mask the values in key=value, key: value and "key": "value" whose key names a secret."""
    parts: list[str] = []
    done = 0
    for named in _NAMED.finditer(text.translate(_LOWER)):
        if named.start() < done or _is_value(text, named.start()):
            continue
        value = _REPEATED.match(text, named.end())
        if value is None or _SENTENCE.match(value["value"]):
            value = None if _SENTENCE.match(text, named.end()) else _VALUE.match(text, named.end())
        if value is not None:
            parts += (text[done : value.start("value")], MASK)
            done = value.end("value")
    return "".join((*parts, text[done:]))


def _is_value(text: str, key: int) -> bool:
    """Whether the word with a key in it is a value itself, like the kind in "Kind=Secret: …"."""
    before = _NAME.match(text[max(0, key - 65) : key][::-1])
    return before is None or before[1] == "="


def _without_ends_of_keys(text: str) -> str:
    """Mask private keys whose beginning was cut off."""
    parts: list[str] = []
    done = 0
    for found in _PRIVATE_KEY_END.finditer(text):
        material = _KEY_MATERIAL.match(text[done : found.start()][::-1])
        parts += (text[done : found.start() - (material.end() if material else 0)], MASK)
        done = found.end()
    return "".join((*parts, text[done:]))
