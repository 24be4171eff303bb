"""Derives the polynomials of csrc/kernels/cpu/math.inl.h and prints them as C++ literals.

Each is a weighted minimax fit (Lawson's iteratively reweighted least squares on Chebyshev nodes) with the
coefficients rounded to their type one at a time, lowest order first, and the rest fitted again.
Needs mpmath. Run: python tools/fit_polynomials.py
"""

import struct

import mpmath as mp

mp.mp.prec = 160


def to_float(x):
    return mp.mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def to_double(x):
    return mp.mpf(float(x))


def nodes(lo, hi, count):
    return [(lo + hi) / 2 + (hi - lo) / 2 * mp.cos(mp.pi * (k + mp.mpf(1) / 2) / count) for k in range(count)]


def solve(rows, rhs):
    """Least squares through the normal equations; the precision is far above what they lose."""
    a, b = mp.matrix(rows), mp.matrix(rhs)
    return mp.lu_solve(a.T * a, a.T * b)


def minimax(table, goal, rounds):
    """Coefficients c that make max |table c - goal| small."""
    weights = [mp.mpf(1)] * len(goal)
    best, best_error = None, mp.inf
    for _ in range(rounds):
        c = solve(
            [[w * v for v in row] for w, row in zip(weights, table)], [w * g for w, g in zip(weights, goal)]
        )
        errors = [abs(mp.fdot(c, row) - g) for row, g in zip(table, goal)]
        worst = max(errors)
        if worst < best_error:
            best, best_error = list(c), worst
        weights = [w * mp.sqrt(e / worst + mp.mpf(10) ** -6) for w, e in zip(weights, errors)]
        scale = max(weights)
        weights = [w / scale for w in weights]
    return best


def report(name, coefficients, rounding, error):
    print(f"{name}: error 2^{float(mp.log(error, 2)):.1f}")
    suffix = "f" if rounding is to_float else ""
    digits = 9 if suffix else 17
    print("   ", ", ".join(f"{float(c):.{digits}g}{suffix}" for c in coefficients), flush=True)


def fit(name, powers, f, weight, lo, hi, rounding):
    """f(x) ~ sum over p of c_p x^p in the measure |error| * weight(x)."""
    xs = [x for x in nodes(mp.mpf(lo), mp.mpf(hi), 5 * len(powers) + 20) if abs(x) > mp.mpf(10) ** -6]
    w = [weight(x) for x in xs]
    table = [[x**p * wx for p in powers] for x, wx in zip(xs, w)]
    goal = [f(x) * wx for x, wx in zip(xs, w)]
    fixed, left = [], goal
    for i in range(len(powers)):
        c = minimax([row[i:] for row in table], left, 25 if i == 0 else 10)
        fixed.append(rounding(c[0]))
        left = [g - fixed[-1] * row[i] for g, row in zip(left, table)]
    report(name, fixed, rounding, max(abs(g) for g in left))


def fit_erf():
    """erf(x) / x = P(x^2) / Q(x^2) with q_0 = 1, by P - f Q = f, reweighted by the last Q."""
    top = mp.mpf("3.92")
    xs = [x for x in nodes(mp.mpf(0), top, 100) if x > mp.mpf("1e-6")]
    f = [mp.erf(x) / x for x in xs]
    count_p, count_q = 6, 5
    q = [mp.mpf(0)] * count_q
    extra = [mp.mpf(1)] * len(xs)
    best = None
    for _ in range(40):
        rows, rhs = [], []
        for x, fx, e in zip(xs, f, extra):
            t = x * x
            w = e / (fx * (1 + t * mp.polyval(q[::-1], t)))
            rows.append([w * t**j for j in range(count_p)] + [-w * fx * t ** (j + 1) for j in range(count_q)])
            rhs.append(w * fx)
        c = solve(rows, rhs)
        p, q = [c[j] for j in range(count_p)], [c[count_p + j] for j in range(count_q)]
        errors = [
            abs(mp.polyval(p[::-1], x * x) / (1 + x * x * mp.polyval(q[::-1], x * x)) / fx - 1)
            for x, fx in zip(xs, f)
        ]
        worst = max(errors)
        if best is None or worst < best[0]:
            best = (worst, p, q)
        extra = [w * mp.sqrt(e / worst + mp.mpf("1e-4")) for w, e in zip(extra, errors)]
        extra = [w / max(extra) for w in extra]
    report("erf numerator", best[1], to_float, best[0])
    report("erf denominator after 1", best[2], to_float, best[0])


def main():
    ln2, relative = mp.log(2), lambda f: lambda x: 1 / abs(f(x))
    fit(
        "expm1(r) - r: r^2..",
        range(2, 7),
        lambda r: mp.expm1(r) - r,
        relative(mp.expm1),
        -ln2 / 2,
        ln2 / 2,
        to_float,
    )
    lo, hi = mp.sqrt(0.5) - 1, mp.sqrt(2) - 1
    fit(
        "log1p(f) - f + f^2/2: f^3..",
        range(3, 12),
        lambda f: mp.log1p(f) - f + f * f / 2,
        relative(mp.log1p),
        lo,
        hi,
        to_float,
    )
    top = mp.pi / 4 * mp.mpf("1.0001")
    fit("sin(r) - r: r^3..", [3, 5, 7], lambda r: mp.sin(r) - r, relative(mp.sin), 0, top, to_float)
    fit(
        "cos(r) - 1 + r^2/2: r^4..",
        [4, 6, 8],
        lambda r: mp.cos(r) - 1 + r * r / 2,
        relative(mp.cos),
        0,
        top,
        to_float,
    )
    fit_erf()
    s = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)
    fit("2 atanh(s): s..", range(1, 13, 2), lambda s: 2 * mp.atanh(s), relative(mp.atanh), 0, s, to_double)
    fit(
        "exp(r) - 1 - r: r^2..",
        range(2, 9),
        lambda r: mp.expm1(r) - r,
        relative(mp.exp),
        -ln2 / 2,
        ln2 / 2,
        to_double,
    )
    fit("atan(z) - z: z^3..", range(3, 25, 2), lambda z: mp.atan(z) - z, relative(mp.atan), 0, 1, to_double)
    with mp.workprec(400):
        bits = int(mp.floor(2 / mp.pi * mp.mpf(2) ** 256))
        print("2/pi:", ", ".join(f"0x{(bits >> (224 - 32 * i)) & 0xFFFFFFFF:08x}" for i in range(8)))
        head = mp.floor(mp.pi / 2 * 2**24) / 2**24
        print("pi/2 head and rest:", repr(float(head)), repr(float(mp.pi / 2 - head)))
        print("ln2 - 0.693359375:", f"{float(to_float(mp.log(2) - mp.mpf('0.693359375'))):.9g}f")


if __name__ == "__main__":
    main()
