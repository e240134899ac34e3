#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the report of the outage: one HTML file that needs nothing else.

usage: resilience_report.py RESILIENCE_JSON TIMELINE_JSON REPORT_HTML

RESILIENCE_JSON is what Google Benchmark wrote, TIMELINE_JSON what bench/resilience_bench.cc wrote
beside it.
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
from report import MILLI, card, format_nanos, row, table  # noqa: E402

FRESH, STALE, ERROR, QUERIES = "#0f8a6d", "#f0a030", "#c8321f", "#44546a"
SHADES = {"dead": "#fbe3df", "slow": "#fdf1dc"}


class Run:
    """The results of one run of the outage."""

    def __init__(self, results, timeline):
        self.context = results["context"]
        self.phases = timeline["phases"]
        self.bucket = timeline["bucket_s"]
        self.contenders = timeline["contenders"]
        self.counters = {}
        for result in results["benchmarks"]:
            # Of repetitions the median is shown, and over time the last one.
            if result.get("aggregate_name", "median") == "median":
                self.counters[result["run_name"].split("/")[1]] = result

    def measured_phases(self):
        return [phase for phase in self.phases if phase["measured"]]

    def measured_contenders(self):
        return [c for c in self.contenders if c["name"] in self.counters]

    def get(self, name, phase, counter):
        return self.counters[name][f"{phase}_{counter}"]

    def total(self, name, counter, phases=None):
        phases = phases or [phase["name"] for phase in self.measured_phases()]
        return sum(self.get(name, phase, counter) for phase in phases)

    def late_p99(self):
        return max(c["late_p99_ms"] for c in self.counters.values()) * MILLI


def seconds(phase):
    return phase["to_s"] - phase["from_s"]


def describe(phase):
    what = (f"answers after {phase['fastest_ms']:g} to {phase['slowest_ms']:g} ms"
            if phase["answers"] else "doesn't answer")
    return f"{phase['name']}, {seconds(phase):g} s: the database {what}"


def shade_phases(axes, run):
    for phase in run.measured_phases():
        if phase["name"] in SHADES:
            axes.axvspan(phase["from_s"], phase["to_s"], color=SHADES[phase["name"]], zorder=0.2,
                         linewidth=0)


def per_second(run, figures):
    return [figure / run.bucket for figure in figures]


def plot_latency(axes, run, contender, times):
    for key, color, width, label in (("p99_ms", ERROR, 1.3, "p99"), ("p50_ms", FRESH, 1.6, "p50")):
        values = [float("nan") if v is None else v * MILLI for v in contender[key]]
        axes.plot(times, values, color=color, linewidth=width, label=label)
    axes.set_yscale("log")
    axes.set_ylim(3e4, 6e9)
    axes.yaxis.set_major_locator(FixedLocator([1e5, 1e6, 1e7, 1e8, 1e9]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda nanos, _: report.format_tick(nanos)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, fontsize=7.5, loc="upper left", ncol=2, handlelength=1.2,
                columnspacing=1.0, borderaxespad=0.1)


def plot_answers(axes, run, contender, times, highest):
    errors, stale = contender["errors"], contender["stale"]
    fresh = [n - e - s for n, e, s in zip(contender["requests"], errors, stale)]
    axes.stackplot(times, *(per_second(run, part) for part in (errors, stale, fresh)), step="mid",
                   colors=(ERROR, STALE, "#bfe0d7"), linewidth=0)
    axes.set_ylim(0, highest)
    axes.set_ylabel("answers/s", fontsize=8)


def plot_queries(axes, run, contender, times, highest):
    axes.fill_between(times, per_second(run, contender["queries"]), step="mid", color=QUERIES,
                      linewidth=0)
    axes.set_ylim(0, highest)
    axes.set_ylabel("queries/s", fontsize=8)
    axes.set_xlabel("seconds", fontsize=8)


def plot_contender(run, contender, most_answers):
    figure, (latency, answers, queries) = plt.subplots(
        3, 1, figsize=(5.0, 4.3), sharex=True, layout="constrained",
        gridspec_kw={"height_ratios": [2.4, 1.1, 1]})
    times = [(i + 0.5) * run.bucket for i in range(len(contender["requests"]))]
    for axes in (latency, answers, queries):
        report.style_axes(axes)
        shade_phases(axes, run)
        axes.tick_params(labelsize=8)
    plot_latency(latency, run, contender, times)
    plot_answers(answers, run, contender, times, most_answers)
    plot_queries(queries, run, contender, times, 1.25 * most_answers)
    for axes in (answers, queries):
        axes.yaxis.set_major_locator(MaxNLocator(3))
    shown = run.measured_phases()
    queries.set_xlim(shown[0]["from_s"], shown[-1]["to_s"])
    return report.to_svg(figure, f"{contender['title']}: latency, answers and queries over time")


def panels(run):
    # The same axes for all, so that panels can be compared. One query for each request is the most
    # there is, but for buckets in which what was late before is caught up with.
    most_answers = 1.05 * max(max(per_second(run, c["requests"])) for c in run.contenders)
    parts = []
    for contender in run.measured_contenders():
        name = contender["name"]
        requests, errors = run.total(name, "samples"), run.total(name, "errors")
        caption = f"{errors / requests:.1%} errors, {run.total(name, 'queries'):,.0f} queries"
        parts.append(f"<figure><figcaption>{html.escape(contender['title'])} "
                     f"<span>{html.escape(caption)}</span></figcaption>"
                     f"{plot_contender(run, contender, most_answers)}</figure>")
    return f"<div class='panels'>{''.join(parts)}</div>"


def phase_table(run, phase):
    head = [phase["name"], "requests", "errors", "stale", "oldest", "p50", "p99", "p99.9", "max", "queries",
            "at once"]
    rows = []
    for contender in run.measured_contenders():
        def get(counter):
            return run.get(contender["name"], phase["name"], counter)

        times = [format_nanos(get(f"{k}_ms") * MILLI) for k in ("p50", "p99", "p999", "max")]
        oldest = format_nanos(get("oldest_stale_ms") * MILLI) if get("stale") else ""
        rows.append(row([contender["title"], f"{get('samples'):,.0f}",
                         f"{get('errors') / max(1, get('samples')):.1%}", f"{get('stale'):,.0f}",
                         oldest, *times, f"{get('queries'):,.0f}",
                         f"{get('most_queries_at_once'):,.0f}"]))
    return f"<div class='scroll'>{table(head, rows)}</div>"


def tables(run):
    return "".join(f"<h3>{html.escape(describe(phase).capitalize())}</h3>{phase_table(run, phase)}"
                   for phase in run.measured_phases())


def headline(run):
    """The few figures that someone in a hurry should take away, of the phase without answers."""
    dead = next(phase["name"] for phase in run.phases if not phase["answers"])
    texts = {
        "plain": "of the requests fail while the database is dead, with a cache that has a ttl and "
                 "nothing else",
        "stale_if_error": "fail with stale_if_error; each key that was ever loaded has an answer",
        "all": "fail with all options together",
    }
    cards = []
    for name, text in texts.items():
        if name in run.counters:
            share = run.get(name, dead, "errors") / max(1, run.get(name, dead, "samples"))
            cards.append(card(f"{share:.1%}", text))
    if {"plain", "all"} <= run.counters.keys():
        cards.append(card(format_nanos(run.get("all", dead, "p99_ms") * MILLI),
                          "p99 with all together, instead of "
                          f"{format_nanos(run.get('plain', dead, 'p99_ms') * MILLI)}"))
        cards.append(card(f"{run.get('all', dead, 'queries'):,.0f} queries",
                          "to the dead database with all together, instead of "
                          f"{run.get('plain', dead, 'queries'):,.0f}"))
    return "".join(cards)


def write_report(run, template, path):
    report.set_plot_style()
    page = string.Template(template).substitute(
        style=report.style(),
        headline=headline(run),
        phases="; ".join(describe(phase) for phase in run.measured_phases()),
        panels=panels(run),
        tables=tables(run),
        late=format_nanos(run.late_p99()),
        machine=report.machine_table(run.context),
    )
    Path(path).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(report.run_report(sys.argv[1:], __doc__, __file__, Run, write_report))
