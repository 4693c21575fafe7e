"""Line charts as SVG, side by side; enough for bench/'s pictures, without a plotting library.

A panel is (title, name of the x axis, [(label, [(x, y), …]), …]); x are small whole numbers, y start at 0.
"""
import math

WIDTH, HEIGHT = 380, 300  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 64, 56, 40, 44
COLORS = ("#1b6ca8", "#c8553d", "#3c8d5a", "#7d5ba6", "#8a6d1f")
N_TICKS = 5
LABEL_HEIGHT = 13


def tick_step(highest):
    """A round distance (1, 2 or 5 times a power of ten) that gives about N_TICKS ticks."""
    raw = max(highest, 1e-9) / N_TICKS
    power = 10 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)


def text(x, y, words, anchor="middle", color="#333", size=12):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" font-size="{size}">{words}</text>'


def spread(positions):
    """The positions of labels, moved down where they would lie on each other; in the order given."""
    placed, last = [0.0] * len(positions), -math.inf
    for i in sorted(range(len(positions)), key=lambda i: positions[i]):
        last = placed[i] = max(positions[i], last + LABEL_HEIGHT)
    return placed


def draw_panel(offset, title, x_name, lines):
    xs = sorted({x for _, points in lines for x, _ in points})
    step = tick_step(max(y for _, points in lines for _, y in points))
    n_steps = math.ceil(max(y for _, points in lines for _, y in points) / step)
    top = step * n_steps
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(x, y):
        across = (x - xs[0]) / max(xs[-1] - xs[0], 1)
        return offset + LEFT + across * (right - LEFT), bottom - y / top * (bottom - TOP)

    parts = [text(offset + (LEFT + right) / 2, 22, title, size=14),
             text(offset + (LEFT + right) / 2, HEIGHT - 8, x_name)]
    for k in range(n_steps + 1):
        _, y = at(xs[0], k * step)
        parts.append(f'<path d="M{offset + LEFT} {y:.1f}H{offset + right}" stroke="#ddd"/>')
        parts.append(text(offset + LEFT - 6, y + 4, f"{k * step:,.6g}", "end"))
    for x in xs:
        parts.append(text(at(x, 0)[0], bottom + 18, str(x)))
    heights = spread([at(*points[-1])[1] for _, points in lines])
    for (label, points), height, color in zip(lines, heights, COLORS):
        places = [at(*point) for point in points]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
        parts.append(text(places[-1][0] + 8, height + 4, label, "start", color))
    return parts


def draw(panels):
    """The picture as the text of an SVG file."""
    drawn = [(title, x_name, lines) for title, x_name, lines in panels if lines]
    width = WIDTH * max(len(drawn), 1)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
             'font-family="sans-serif">', f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>']
    for i, panel in enumerate(drawn):
        parts += draw_panel(i * WIDTH, *panel)
    return "\n".join([*parts, "</svg>", ""])
