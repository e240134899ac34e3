#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the main job's report: one HTML file that needs nothing else.

usage: report.py TIERS_JSON LATENCIES_JSON REPORT_HTML

TIERS_JSON is what Google Benchmark wrote, LATENCIES_JSON what bench/tiers_bench.cc wrote beside it.
"""

import html
import io
import json
import math
import re
import string
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: E402

TIERS = [
    # benchmark, title, what documents say of it, colour
    ("BM_Tier/memory", "memory: larder, in this process", "0.1 ms", "#0f8a6d"),
    ("BM_Tier/redis", "Redis, over loopback", "–", "#f0a030"),
    ("BM_Tier/redis_1ms_network", "Redis, 1 ms of network away", "1–5 ms", "#d9541e"),
    ("BM_Tier/database", "database: SQLite, held back", "50–200 ms", "#44546a"),
]
FLOWS = [
    # benchmark, title, colour, line style
    ("BM_RequestFlow/none", "no cache", "#44546a", "-"),
    ("BM_RequestFlow/redis", "Redis only", "#d9541e", "-"),
    ("BM_RequestFlow/larder", "larder only", "#0f8a6d", "-"),
    ("BM_RequestFlow/larder_redis", "larder in front of Redis", "#6a4fb3", "-"),
    ("BM_SecondServer/larder_redis", "second server, Redis warm", "#6a4fb3", (0, (4, 2))),
]
# What documents say, in nanoseconds: from, to, text.
DOCUMENTED = [
    (50e6, 200e6, "database,\nas documented:\n50–200 ms"),
    (1e6, 5e6, "Redis,\nas documented:\n1–5 ms"),
    (0.1e6, 0.1e6, "memory,\nas documented:\n0.1 ms"),
]
MILLI, MICRO = 1e6, 1e3


class Results:
    """What the benchmarks of one run counted."""

    def __init__(self, results):
        self.context = results["context"]
        self.by_name = {}
        for result in results["benchmarks"]:
            # Of repetitions the median is shown, and over time the last one.
            if result.get("aggregate_name", "median") == "median":
                self.by_name[result["run_name"].removesuffix("/iterations:1")] = result

    def get(self, name):
        """The counters of a benchmark that was measured, else None."""
        result = self.by_name.get(name)
        return None if result is None or result.get("error_occurred") else result


def format_nanos(nanos):
    """Three significant digits in the unit that suits, as the printed table has it."""
    if nanos < 999.5:
        return f"{nanos:.0f} ns"
    for size, unit in ((1e3, "µs"), (1e6, "ms"), (1e9, "s")):
        value = nanos / size
        if value < 999.5 or unit == "s":
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    raise AssertionError("unreachable")


def format_ratio(ratio):
    """To three significant digits."""
    if ratio < 9.95:
        return f"{ratio:.1f}×"
    unit = 10 ** max(0, math.floor(math.log10(ratio)) - 2)
    return f"{round(ratio / unit) * unit:,.0f}×"


class Run:
    """The results of one run of the main job."""

    def __init__(self, tiers, latencies):
        self.context = tiers["context"]
        self.distributions = latencies["distributions"]
        self.by_name = {}
        for result in tiers["benchmarks"]:
            # Of repetitions the median is shown.
            if result.get("aggregate_name", "median") == "median":
                self.by_name[result["run_name"]] = result

    def get(self, name):
        """The counters of a benchmark that was measured, else None."""
        result = self.by_name.get(name)
        return None if result is None or self.error(name) else result

    def error(self, name):
        result = self.by_name.get(name, {})
        return result.get("error_message") if result.get("error_occurred") else None

    def p50(self, name):
        result = self.get(name)
        return result["p50_us"] * MICRO if result else None

    def quantiles(self, name):
        return self.distributions.get(name, {}).get("quantiles", [])


def nines(quantile):
    """Where a quantile stands on an axis that gives each further nine the same room."""
    return -math.log10(max(1 - quantile, 1e-9))


def style_percentile_axes(axes, most_samples):
    ticks = [(0, "fastest"), (0.5, "50%"), (0.9, "90%"), (0.99, "99%"), (0.999, "99.9%"),
             (0.9999, "99.99%"), (0.99999, "99.999%")]
    ticks = [t for t in ticks if (1 - t[0]) * most_samples >= 1]
    axes.set_xlim(0, nines(ticks[-1][0]) + 0.25)
    axes.xaxis.set_major_locator(FixedLocator([nines(q) for q, _ in ticks]))
    axes.set_xticklabels([text for _, text in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the answers that took at most this long")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([10.0**e for e in range(1, 10)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda nanos, _: format_tick(nanos)))
    axes.yaxis.set_minor_locator(NullLocator())
    style_axes(axes)


def style_axes(axes):
    axes.grid(True, color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, colors="#4a5462")
    axes.xaxis.label.set_color("#4a5462")
    axes.yaxis.label.set_color("#4a5462")


def format_tick(nanos):
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if nanos >= size:
            return f"{nanos / size:g} {unit}"
    return f"{nanos:g} ns"


def to_svg(figure, description):
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    plt.close(figure)
    svg = out.getvalue()
    # Inside of HTML it is neither a document of its own nor in need of name spaces.
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg[svg.index("<svg"):])
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)


def plot_percentiles(run, series, documented, description):
    """Percentile curves with a logarithmic axis of time, and documented figures as bands."""
    series = [s for s in series if run.quantiles(s[0])]
    if not series:
        return "<p class='missing'>Not measured in this run.</p>"
    figure, axes = plt.subplots(figsize=(9.4, 4.9), layout="constrained")
    most = max(run.distributions[name]["samples"] for name, *_ in series)
    style_percentile_axes(axes, most)
    lowest, highest = float("inf"), 0
    for name, title, color, dashes in series:
        points = run.quantiles(name)
        xs = [nines(min(q, 1 - 1 / run.distributions[name]["samples"])) for q, _ in points]
        ys = [nanos for _, nanos in points]
        axes.plot(xs, ys, color=color, linewidth=2.2, linestyle=dashes, label=title)
        lowest, highest = min(lowest, ys[0]), max(highest, ys[-1])
    highest = max([highest, *(high for _, high, _ in documented)])
    axes.set_ylim(lowest / 2.2, highest * 2.2)
    for low, high, text in documented:
        if low == high:
            axes.axhline(low, color="#8a94a3", linewidth=1, linestyle=(0, (2, 3)), zorder=0.5)
        else:
            axes.axhspan(low, high, color="#eef1f5", zorder=0.4, linewidth=0)
        axes.text(1.012, math.sqrt(low * high), text, transform=axes.get_yaxis_transform(),
                  color="#7a8493", fontsize=8.5, ha="left", va="center")
    axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, 1.12),
                ncol=len(series), columnspacing=1.6, handlelength=1.8)
    return to_svg(figure, description)


def plot_askers(run):
    rounds = sorted(n for n in run.distributions if n.startswith("BM_ThousandAskers/round_"))
    if not rounds:
        return "<p class='missing'>Not measured in this run.</p>"
    figure, axes = plt.subplots(figsize=(9.4, 2.5), layout="constrained")
    longest = 0
    for i, name in enumerate(rounds):
        points = run.quantiles(name)
        xs = [0, *(nanos / MILLI for _, nanos in points)]
        ys = [0, *(100 * q for q, _ in points)]
        shade = 0.45 + 0.55 * i / max(len(rounds) - 1, 1)
        axes.plot(xs, ys, color="#0f8a6d", alpha=shade, linewidth=2)
        longest = max(longest, xs[-1])
    axes.set_xlim(0, max(longest * 1.05, 200))
    axes.set_ylim(-1, 103)
    axes.set_xlabel("milliseconds since the question was asked")
    axes.set_ylabel("askers answered, %")
    style_axes(axes)
    return to_svg(figure, "Share of the askers that were answered, over time, for each round")


def row(cells, tag="td", css=""):
    texts = "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells)
    return f"<tr class='{css}'>{texts}</tr>"


def error_row(title, error, columns):
    return (f"<tr class='missing'><td>{html.escape(title)}</td>"
            f"<td colspan='{columns - 1}'>{html.escape(error)}</td></tr>")


def table(head, rows):
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{''.join(rows)}</tbody></table>"


def tiers_table(run):
    head = ["one answer from", "documented", "p50", "p99", "p99.9", "mean", "samples",
            "slower than row above"]
    rows, above = [], None
    for name, title, documented, _ in TIERS:
        if run.error(name):
            rows.append(error_row(title, run.error(name), len(head)))
        result = run.get(name)
        if not result:
            continue
        times = [format_nanos(result[k] * MICRO) for k in ("p50_us", "p99_us", "p999_us", "mean_us")]
        p50 = run.p50(name)
        rows.append(row([title, documented, *times, f"{result['samples']:,.0f}",
                         format_ratio(p50 / above) if above else ""]))
        above = p50
    for name, title in (("BM_RequestFlow/redis", "a cached answer, Redis only"),
                        ("BM_RequestFlow/larder", "a cached answer, larder only")):
        result = run.get(name)
        if result and "cached_p50_ms" in result:
            times = [format_nanos(result[f"cached_{k}_ms"] * MILLI)
                     for k in ("p50", "p99", "p999", "mean")]
            rows.append(row([title, "under 5 ms", *times, f"{result['cached_samples']:,.0f}", ""],
                            css="flow"))
    return table(head, rows)


def flows_table(run):
    head = ["request flow", "mean", "p50", "p95", "p99", "p99.9", "requests/s", "hit ratio",
            "database queries per 1,000"]
    rows = []
    for name, title, *_ in FLOWS:
        if run.error(name):
            rows.append(error_row(title, run.error(name), len(head)))
        result = run.get(name)
        if result:
            times = [format_nanos(result[f"{k}_ms"] * MILLI)
                     for k in ("mean", "p50", "p95", "p99", "p999")]
            rows.append(row([title, *times, f"{result['requests_per_s']:,.0f}",
                             f"{result['hit_ratio']:.1%}",
                             f"{result['database_queries_per_1000']:,.0f}"]))
    return table(head, rows)


def card(figure, text):
    return f"<div class='card'><b>{html.escape(figure)}</b><span>{html.escape(text)}</span></div>"


def headline(run):
    """The few figures that someone in a hurry should take away."""
    memory, database = run.p50("BM_Tier/memory"), run.p50("BM_Tier/database")
    distant = run.p50("BM_Tier/redis_1ms_network")
    none, larder = run.get("BM_RequestFlow/none"), run.get("BM_RequestFlow/larder")
    askers = run.get("BM_ThousandAskers")
    cards = []
    if memory:
        cards.append(card(format_nanos(memory), "for an answer from larder, in the process itself "
                                                "(median of single lookups)"))
    if memory and distant:
        cards.append(card(format_ratio(distant / memory), "faster than asking a Redis that is 1 ms "
                                                          f"of network away ({format_nanos(distant)})"))
    if memory and database:
        cards.append(card(format_ratio(database / memory),
                          f"faster than asking the database ({format_nanos(database)})"))
    if none and larder:
        cards.append(card(f"{larder['database_queries_per_1000']:,.0f} of 1,000",
                          "requests reach the database, from a cold start; the mean request takes "
                          f"{format_nanos(larder['mean_ms'] * MILLI)} instead of "
                          f"{format_nanos(none['mean_ms'] * MILLI)}"))
    if askers:
        loads = askers["loads"]
        cards.append(card(f"{loads:,.0f} quer{'y' if loads == 1 else 'ies'}",
                          f"when {askers['askers']:,.0f} threads ask for the same missing key at "
                          "once"))
    return "".join(cards)


def askers_text(run):
    error = run.error("BM_ThousandAskers")
    if error:
        return f"<p class='missing'>{html.escape(error)}</p>"
    result = run.get("BM_ThousandAskers")
    if not result:
        return ""
    return (f"<p>{result['askers']:,.0f} threads ask for the same product, which is in no cache, at "
            f"the same moment; {result['rounds']:.0f} rounds, each with another product. The loader "
            f"counted <b>{result['loads']:,.0f}</b> "
            f"database quer{'y' if result['loads'] == 1 else 'ies'} in the worst round. "
            f"The longest load took {format_nanos(result['longest_load_ms'] * MILLI)}, the longest "
            f"wait of an asker {format_nanos(result['longest_wait_ms'] * MILLI)}. Each "
            "curve is a round: nobody is answered before its one load returns; "
            "the rest is what it takes to wake a thousand threads.</p>")


def machine_table(context):
    rows = [
        ("processor", f"{context.get('processor', 'unknown')}, {context.get('num_cpus')} cores"),
        ("kernel", context.get("kernel", "unknown")),
        ("compiler", f"{context.get('compiler', 'unknown')}, optimised, "
                     f"assertions {context.get('assertions', 'unknown')}"),
        ("timer", f"{context.get('timer', 'unknown')}; one timing takes "
                  f"{context.get('timer_ns', '?')} ns by itself, which is part of every figure"),
        ("load before the run", ", ".join(f"{x:.2f}" for x in context.get("load_avg", [])) or "?"),
        ("date", context.get("date", "unknown")),
    ]
    cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>"
                    for k, v in rows)
    return f"<table class='facts'>{cells}</table>"


def style():
    """The style sheet of all reports."""
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def set_plot_style():
    plt.rcParams.update({"font.size": 9.5, "svg.hashsalt": "larder", "axes.edgecolor": "#c4cad3"})


def write_report(run, template, path):
    set_plot_style()
    tier_series = [(name, title, color, "-") for name, title, _, color in TIERS]
    page = string.Template(template).substitute(
        style=style(),
        headline=headline(run),
        tiers_table=tiers_table(run),
        tiers_plot=plot_percentiles(run, tier_series, DOCUMENTED,
                                    "Latency percentiles of each tier, logarithmic"),
        flows_table=flows_table(run),
        flows_plot=plot_percentiles(run, FLOWS, [],
                                    "Latency percentiles of each request flow, logarithmic"),
        askers_text=askers_text(run),
        askers_plot=plot_askers(run),
        machine=machine_table(run.context),
    )
    Path(path).write_text(page, encoding="utf-8")


def run_report(arguments, usage, script, make_run, write):
    """What a report's main does: reads two files of JSON, and its template, and writes a page.

    script: the path of the report's own script, NAME.py, whose template is NAME.html.in beside it.
    """
    if len(arguments) != 3:
        print(usage, file=sys.stderr)
        return 2
    first, second, out = arguments
    run = make_run(json.loads(Path(first).read_text()), json.loads(Path(second).read_text()))
    template = Path(script).with_suffix(".html.in").read_text(encoding="utf-8")
    write(run, template, out)
    return 0


if __name__ == "__main__":
    sys.exit(run_report(sys.argv[1:], __doc__, __file__, Run, write_report))
