"""The eight losses again, in float64 numpy, written from the paper and not from the package.

Every function takes all real rows at once and has a line for each sum of a formula, so that it can
be read against docs/method.md §3. Gradients are central differences of these.
"""

import numpy as np


def _log_sigmoid(t):
    return -np.logaddexp(0.0, -t)


def _log_sum(rows):
    """Of each row [n, k] the logarithm of the sum of exponentials, [n]."""
    top = np.max(rows, axis=1)
    return top + np.log(np.sum(np.exp(rows - top[:, None]), axis=1))


def arctan_similarity(profile, c, k, null="screen"):
    squared = np.sum((profile[:, None] - profile[None, :]) ** 2, axis=2)
    if null == "pair":
        length = np.sum(profile**2, axis=1)
        c = length[:, None] + length[None, :]
    w = 1.0 - (4.0 / np.pi) * np.arctan(squared / c)
    w[w < k] = 0.0
    return np.clip(w, 0.0, 1.0)


def cosine_similarity(profile):
    unit = profile / np.linalg.norm(profile, axis=1, keepdims=True)
    return unit @ unit.T / 2 + 0.5


def clip(x, m, scale):
    s, n = scale * x @ m.T, len(x)
    rows = np.sum(np.diag(s) - _log_sum(s))
    cols = np.sum(np.diag(s) - _log_sum(s.T))
    return -(rows + cols) / n


def dcl(x, m, scale):
    return (_leave_one_out(x, m, scale) + _leave_one_out(m, x, scale)) / len(x)


def infoloob(x, m, scale):
    return dcl(x, m, scale) / scale


def _leave_one_out(a, b, scale):
    s = scale * a @ b.T
    others = np.where(np.eye(len(a), dtype=bool), -np.inf, s)
    return np.sum(_log_sum(others) - np.diag(s))


def cwcl(x, m, scale, profile):
    s, n, w = scale * x @ m.T, len(x), cosine_similarity(profile)
    log_p = s - _log_sum(s)[:, None]
    return -np.sum(np.sum(w * log_p, axis=1) / np.sum(w, axis=1)) / n


def siglip(x, m, scale, bias):
    logit, n = scale * x @ m.T + bias, len(x)
    y = 2.0 * np.eye(n) - 1.0
    return -np.sum(_log_sigmoid(y * logit)) / n


def s2l(
    x,
    m,
    scale,
    bias,
    profile,
    c,
    form="weighted",
    gamma=1.75,
    zeta=0.75,
    threshold=0.75,
    null="screen",
):
    logit, n = scale * x @ m.T + bias, len(x)
    w = arctan_similarity(profile, c, threshold, null)
    if form == "mixture":
        with np.errstate(divide="ignore"):
            pairs = np.logaddexp(
                np.log(w) + _log_sigmoid(logit), np.log(1.0 - w) + _log_sigmoid(-logit)
            )
    else:
        pairs = w * _log_sigmoid(logit) + (gamma - zeta * w) * _log_sigmoid(-logit)
    return -np.sum(pairs) / n


def _recall(state, stored, beta):
    a = np.exp(beta * state @ stored.T)
    o = (a / a.sum(axis=1, keepdims=True)) @ stored
    return o / np.linalg.norm(o, axis=1, keepdims=True)


def _patterns(x, y, beta):
    return (
        _recall(x, x, beta),  # p_xx
        _recall(y, x, beta),  # p_xy
        _recall(y, y, beta),  # p_yy
        _recall(x, y, beta),  # p_yx
    )


def cloome(x, m, scale, beta=14.3):
    p_xx, p_xy, p_yy, p_yx = _patterns(x, m, beta)
    both = _leave_one_out(p_xx, p_xy, scale) + _leave_one_out(p_yy, p_yx, scale)
    return both / len(x) / scale


def hopfield_clip(x, m, scale, beta=14.3):
    p_xx, p_xy, p_yy, p_yx = _patterns(x, m, beta)
    total = 0.0
    for a, b in ((p_xx, p_xy), (p_yy, p_yx)):
        s = scale * a @ b.T
        total += np.sum(_log_sum(s) - np.diag(s))
    return total / len(x)


def evaluate(name, x, m, *, scale, bias, profile, null_constant, **options):
    if name == "s2l":
        return s2l(x, m, scale, bias, profile, null_constant, **options)
    if name == "siglip":
        return siglip(x, m, scale, bias)
    if name == "cwcl":
        return cwcl(x, m, scale, profile)
    one = {
        "clip": clip,
        "dcl": dcl,
        "infoloob": infoloob,
        "cloome": cloome,
        "hopfield_clip": hopfield_clip,
    }[name]
    return one(x, m, scale, **options)


def gradients(name, x, m, *, scale, bias, step=1e-5, **rest):
    """Central differences in x, m, scale and bias."""
    inputs = [np.array(a, np.float64) for a in (x, m, scale, bias)]

    def value():
        return evaluate(
            name, inputs[0], inputs[1], scale=float(inputs[2]), bias=float(inputs[3]), **rest
        )

    result = []
    for a in inputs:
        g = np.zeros(a.shape)
        for at in np.ndindex(a.shape):
            kept = a[at]
            a[at] = kept + step
            above = value()
            a[at] = kept - step
            g[at] = (above - value()) / (2 * step)
            a[at] = kept
        result.append(g)
    return result
