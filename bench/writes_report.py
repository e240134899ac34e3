#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the report on writes: one HTML file that needs nothing else.

usage: writes_report.py WRITES_JSON TIMELINE_JSON REPORT_HTML

WRITES_JSON is what Google Benchmark wrote, TIMELINE_JSON what bench/writes_bench.cc wrote beside it.
"""

import html
import string
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator  # noqa: E402

import report  # noqa: E402
from report import MICRO, MILLI, card, format_nanos, format_ratio, row, table  # noqa: E402

DATABASES = [("slow", "a database of 50–200 ms"), ("sqlite", "SQLite itself")]
MODES = [
    # name, title, with what an acknowledged write is lost, colour
    ("through", "write-through", "nothing", "#44546a"),
    ("memory", "write-behind, in memory", "the process", "#f0a030"),
    ("journal", "journal, never synced", "the system", "#6a4fb3"),
    ("journal_interval", "journal, synced each 100 ms", "the system (*)", "#d9541e"),
    ("journal_sync", "journal, synced each put", "nothing", "#0f8a6d"),
]
LARDER, EACH, QUEUED, STORED, WAIT = "#0f8a6d", "#44546a", "#bfe0d7", "#44546a", "#d9541e"


class Run(report.Results):
    """The results of one run."""

    def __init__(self, results, timeline):
        super().__init__(results)
        self.bursts = timeline["bursts"]

    def put(self, database, mode, threads):
        return self.get(f"BM_Put/{database}/{mode}/{threads}")

    def group(self, how, threads):
        return self.get(f"BM_GroupCommit/{how}/{threads}")

    def threads(self, prefix):
        return sorted({int(name.rsplit("/", 1)[1]) for name in self.by_name
                       if name.startswith(prefix) and self.get(name)})


def style_thread_axis(axes, threads):
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(threads))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("threads", fontsize=8.5)
    axes.tick_params(labelsize=8.5)
    report.style_axes(axes)


def style_time_axis(axes):
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([10.0**e for e in range(1, 11)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda nanos, _: report.format_tick(nanos)))
    axes.yaxis.set_minor_locator(NullLocator())


def legend():
    return "; ".join(f"<b style='color:{color}'>{html.escape(title)}</b>"
                     for _, title, _, color in MODES)


def plot_puts(run):
    """Latency above, puts a second below, one column for each database."""
    threads = run.threads("BM_Put/")
    if not threads:
        return "<p class='missing'>Not measured in this run.</p>"
    figure, grid = plt.subplots(2, 2, figsize=(9.4, 6.2), sharex=True, sharey="row",
                                layout="constrained")
    for column, (database, title) in enumerate(DATABASES):
        latency, rate = grid[0][column], grid[1][column]
        for mode, _, _, color in MODES:
            points = [(n, run.put(database, mode, n)) for n in threads]
            points = [(n, result) for n, result in points if result]
            xs = [n for n, _ in points]
            latency.plot(xs, [r["p50_us"] * MICRO for _, r in points], color=color, linewidth=2,
                         marker="o", markersize=3.5)
            latency.plot(xs, [r["p99_us"] * MICRO for _, r in points], color=color, linewidth=1,
                         linestyle=(0, (3, 2)))
            rate.plot(xs, [r["puts_per_s"] for _, r in points], color=color, linewidth=2,
                      marker="o", markersize=3.5)
        latency.set_title(title, fontsize=10.5, loc="left", color="#1c2430")
        style_thread_axis(latency, threads)
        style_thread_axis(rate, threads)
        style_time_axis(latency)
        rate.set_yscale("log")
        rate.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
        latency.set_xlabel("")
    grid[0][0].set_ylabel("a put: p50, dashed p99")
    grid[1][0].set_ylabel("puts a second, all threads")
    return report.to_svg(figure, "Latency and throughput of puts by threads, for each way to write")


def plot_groups(run):
    threads = run.threads("BM_GroupCommit/")
    if not threads:
        return "<p class='missing'>Not measured in this run.</p>"
    figure, (rate, syncs) = plt.subplots(1, 2, figsize=(9.4, 3.1), layout="constrained")
    for how, label, color in (("journal", "larder: threads share syncs", LARDER),
                              ("sync_each", "each put syncs", EACH)):
        points = [(n, run.group(how, n)) for n in threads if run.group(how, n)]
        xs = [n for n, _ in points]
        rate.plot(xs, [r["puts_per_s"] for _, r in points], color=color, linewidth=2, marker="o",
                  markersize=3.5, label=label)
        syncs.plot(xs, [r["syncs_per_put"] for _, r in points], color=color, linewidth=2,
                   marker="o", markersize=3.5, label=label)
    for axes in (rate, syncs):
        style_thread_axis(axes, threads)
        axes.set_ylim(bottom=0)
    rate.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    rate.set_ylabel("puts a second")
    syncs.set_ylabel("syncs a put")
    rate.legend(frameon=False, fontsize=9, loc="upper left")
    return report.to_svg(figure, "Puts a second and syncs a put by threads")


def plot_burst(burst, most_queued, end):
    figure, (queue, puts) = plt.subplots(2, 1, figsize=(5.0, 3.9), sharex=True,
                                         layout="constrained",
                                         gridspec_kw={"height_ratios": [1.7, 1]})
    times = burst["at_s"]
    for axes in (queue, puts):
        report.style_axes(axes)
        axes.tick_params(labelsize=8)
        if burst["comes_back_s"] > burst["dies_s"]:
            axes.axvspan(burst["dies_s"], burst["comes_back_s"], color="#fbe3df", zorder=0.2,
                         linewidth=0)
    queue.fill_between(times, burst["queued"], color=QUEUED, linewidth=0)
    queue.plot(times, burst["queued"], color=LARDER, linewidth=1.3)
    queue.axvline(burst["last_put_s"], color="#8a94a3", linewidth=1, linestyle=(0, (2, 3)))
    if burst["max_queued"] < most_queued:
        queue.axhline(burst["max_queued"], color=WAIT, linewidth=1, linestyle=(0, (4, 2)))
    queue.set_ylim(0, 1.08 * most_queued)
    queue.yaxis.set_major_locator(MaxNLocator(4))
    queue.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    queue.set_ylabel("queued", fontsize=8)
    for key, color, width, label in (("p99_us", WAIT, 1.2, "p99"), ("p50_us", LARDER, 1.5, "p50")):
        points = [(at, v * MICRO) for at, v in zip(times, burst[key]) if v is not None]
        puts.plot(*zip(*points), color=color, linewidth=width, label=label)
    style_time_axis(puts)
    puts.set_ylim(3e2, 3e9)
    puts.yaxis.set_major_locator(FixedLocator([1e3, 1e5, 1e7, 1e9]))
    puts.set_ylabel("a put", fontsize=8)
    puts.set_xlabel("seconds", fontsize=8)
    puts.set_xlim(0, end)
    puts.legend(frameon=False, fontsize=7.5, loc="upper right", ncol=2, handlelength=1.2,
                columnspacing=1.0, borderaxespad=0.1)
    return report.to_svg(figure, f"{burst['title']}: writes queued and latency of puts over time")


def burst_panels(run):
    if not run.bursts:
        return "<p class='missing'>Not measured in this run.</p>"
    # The same axes for all, so that panels can be compared.
    most_queued = max(max(burst["queued"]) for burst in run.bursts)
    end = max(burst["at_s"][-1] for burst in run.bursts)
    parts = []
    for burst in run.bursts:
        caption = f"≤ {max(burst['queued']):,.0f} queued, {burst['drained_s']:.1f} s"
        parts.append(f"<figure><figcaption>{html.escape(burst['title'])} "
                     f"<span>{html.escape(caption)}</span></figcaption>"
                     f"{plot_burst(burst, most_queued, end)}</figure>")
    return f"<div class='panels'>{''.join(parts)}</div>"


def put_table(run, database, title):
    threads = run.threads(f"BM_Put/{database}/")
    threads = sorted({*threads[:1], *threads[-1:]})  # the plot has those between
    head = [title]
    for n in threads:
        head += [f"{n} thread{'s' if n > 1 else ''}: p50", "p99", "puts/s"]
    head += ["calls for 1,000 puts", "all stored after", "a put is lost with"]
    rows = []
    for mode, label, lost_with, _ in MODES:
        cells, last = [label], None
        for n in threads:
            result = run.put(database, mode, n)
            if result is None:
                cells += ["–", "–", "–"]
                continue
            last = result
            cells += [format_nanos(result["p50_us"] * MICRO), format_nanos(result["p99_us"] * MICRO),
                      f"{result['puts_per_s']:,.0f}"]
        if last is None:
            continue
        calls = 1000 * last["write_calls"] / last["samples"]
        cells += [f"{calls:.2g}" if calls < 10 else f"{calls:,.0f}",
                  "" if mode == "through" else format_nanos(last["flush_ms"] * MILLI), lost_with]
        rows.append(row(cells))
    return f"<div class='scroll'>{table(head, rows)}</div>" if rows else ""


def group_table(run):
    head = ["threads", "larder: puts/s", "p50", "p99", "syncs a put", "each put syncs: puts/s", "p50",
            "p99", "larder is"]
    rows = []
    for n in run.threads("BM_GroupCommit/"):
        larder, each = run.group("journal", n), run.group("sync_each", n)
        if larder is None or each is None:
            continue
        rows.append(row([f"{n}", f"{larder['puts_per_s']:,.0f}",
                         format_nanos(larder["p50_us"] * MICRO), format_nanos(larder["p99_us"] * MICRO),
                         f"{larder['syncs_per_put']:.3f}", f"{each['puts_per_s']:,.0f}",
                         format_nanos(each["p50_us"] * MICRO), format_nanos(each["p99_us"] * MICRO),
                         f"{format_ratio(larder['puts_per_s'] / each['puts_per_s'])} as fast"]))
    return f"<div class='scroll'>{table(head, rows)}</div>"


def burst_table(run):
    head = ["burst", "puts", "p50", "p99", "max", "last put after", "most queued", "waited longest",
            "all stored after", "replaced", "failures"]
    rows = []
    for burst in run.bursts:
        result = run.get(f"BM_Burst/{burst['name']}")
        if result is None:
            continue
        times = [format_nanos(result[f"{k}_us"] * MICRO) for k in ("p50", "p99", "max")]
        rows.append(row([burst["title"], f"{result['samples']:,.0f}", *times,
                         format_nanos(result["last_put_ms"] * MILLI),
                         f"{result['most_queued']:,.0f}", format_nanos(result["oldest_ms"] * MILLI),
                         format_nanos(result["drained_ms"] * MILLI),
                         f"{result['coalesced']:,.0f}", f"{result['failures']:,.0f}"]))
    return f"<div class='scroll'>{table(head, rows)}</div>"


def headline(run):
    """The few figures that someone in a hurry should take away."""
    cards = []
    through, behind = run.put("slow", "through", 1), run.put("slow", "journal_sync", 1)
    memory = run.put("slow", "memory", 1)
    if through and behind:
        cards.append(card(format_nanos(behind["p50_us"] * MICRO),
                          "for a put that survives a power failure, write-behind, instead of "
                          f"{format_nanos(through['p50_us'] * MICRO)} for the database's own answer "
                          "(p50, one thread)"))
    if memory:
        cards.append(card(format_nanos(memory["p50_us"] * MICRO),
                          "for a put that may be lost with the process"))
    most = max(run.threads("BM_GroupCommit/"), default=0)
    larder, each = run.group("journal", most), run.group("sync_each", most)
    if larder and each:
        cards.append(card(f"{larder['puts_per_s']:,.0f}/s",
                          f"puts on the disk with {most} threads, {1 / larder['syncs_per_put']:.0f} to "
                          f"a sync; {each['puts_per_s']:,.0f} where each put syncs"))
    outage = run.get("BM_Burst/outage")
    if outage:
        cards.append(card(format_nanos(outage["p99_us"] * MICRO),
                          "p99 of puts while the database is dead for a while; "
                          f"{outage['most_queued']:,.0f} wait for it, and none is lost"))
    return "".join(cards)


def write_report(run, template, path):
    report.set_plot_style()
    page = string.Template(template).substitute(
        style=report.style(),
        headline=headline(run),
        legend=legend(),
        puts_plot=plot_puts(run),
        puts_tables="".join(put_table(run, *database) for database in DATABASES),
        groups_plot=plot_groups(run),
        groups_table=group_table(run),
        bursts=burst_panels(run),
        bursts_table=burst_table(run),
        machine=report.machine_table(run.context),
    )
    Path(path).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(report.run_report(sys.argv[1:], __doc__, __file__, Run, write_report))
