#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the report on Redis as the shared tier: one HTML file that needs nothing else.

usage: remote_report.py REMOTE_JSON TIMELINE_JSON REPORT_HTML

REMOTE_JSON is what Google Benchmark wrote, TIMELINE_JSON what bench/remote_bench.cc wrote beside it.
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
from report import MICRO, MILLI, card, format_nanos, row, table  # noqa: E402

PLACES = [
    ("memory_alone", "memory, no Redis behind"),
    ("memory", "memory"),
    ("socket", "Redis, Unix socket"),
    ("loopback", "Redis, TCP on loopback"),
    ("tls", "Redis, TLS on loopback"),
    ("distant", "Redis, 1 ms away"),
    ("database_alone", "database, no Redis"),
    ("database", "database behind Redis"),
]
REQUESTS = [("tier_get", "RedisTier::Get"), ("hit", "Get, there"), ("miss", "Get, not there"),
            ("put", "Put")]
WAYS = [
    # name, title, what redis-benchmark is told
    ("shared", "threads that share one connection", "-c 1 -P threads"),
    ("own", "threads with a connection each", "-c threads -P 1"),
    ("many", "keys in one call, GetMany", "-c 1 -P keys"),
]
READERS = [("loopback", "Redis on loopback"), ("loopback_own", "the same, copies of its own"),
           ("distant", "Redis 1 ms away"), ("distant_own", "the same, copies of its own")]
PHASES = [("before", "before"), ("away", "Redis away"), ("back", "back, not yet used"),
          ("after", "used again")]
SOURCES = [("memory", "memory", "#bfe0d7"), ("redis", "Redis", "#f0a030"),
           ("joined", "joined another's load", "#c9bfe6"), ("database", "database", "#44546a"),
           ("errors", "errors", "#c8321f")]
HEALTH = {"up": "#ffffff", "down": "#fbe3df", "syncing": "#fdf1dc"}
LARDER, LIMIT, P99, MAX = "#0f8a6d", "#44546a", "#c8321f", "#d8b4ae"
MISSING = "<p class='missing'>Not measured in this run.</p>"


class Run(report.Results):
    """The results of one run."""

    def __init__(self, results, timeline):
        super().__init__(results)
        self.bucket = timeline["bucket_s"]
        self.outages = timeline["outages"]

    def gets(self, way):
        """Size and counters of each measurement of a way to get."""
        prefix = f"BM_Gets/{way}/"
        sizes = sorted(int(name.removeprefix(prefix)) for name in self.by_name
                       if name.startswith(prefix) and self.get(name))
        return [(size, self.get(f"{prefix}{size}")) for size in sizes]


def latency_table(run):
    head = ["one request, answered by"]
    for _, title in REQUESTS:
        head += [f"{title}: p50", "p99"]
    rows = []
    for place, title in PLACES:
        results = [run.get(f"BM_Remote/{place}/{request}") for request, _ in REQUESTS]
        if not any(results):
            continue
        cells = [title]
        for result in results:
            cells += [format_nanos(result[k] * MICRO) if result else "" for k in ("p50_us", "p99_us")]
        rows.append(row(cells))
    return f"<div class='scroll'>{table(head, rows)}</div>" if rows else MISSING


def plot_gets(run):
    if not any(run.gets(way) for way, _, _ in WAYS):
        return MISSING
    figure, grid = plt.subplots(1, 3, figsize=(9.4, 3.3), layout="constrained")
    for axes, (way, title, _) in zip(grid, WAYS):
        points = run.gets(way)
        sizes = [size for size, _ in points]
        for key, label, color in (("limit_per_s", "redis-benchmark", LIMIT),
                                  ("gets_per_s", "larder", LARDER)):
            axes.plot(sizes, [result[key] for _, result in points], color=color, linewidth=2,
                      marker="o", markersize=3.5, label=label)
        report.style_axes(axes)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n / 1000:,.0f}k"))
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9.5, loc="left", color="#1c2430")
        axes.set_xlabel("keys" if way == "many" else "threads", fontsize=8.5)
        axes.tick_params(labelsize=8.5)
    grid[0].set_ylabel("GETs a second")
    grid[0].legend(frameon=False, fontsize=8.5, loc="upper left")
    return report.to_svg(figure, "GETs a second of larder and of redis-benchmark")


def gets_table(run, way, title, beside):
    head = [title, "larder GET/s", f"redis-benchmark {beside}", "ratio", "lowest", "highest",
            "larder's processors", "the server's", "beside redis-benchmark"]
    rows = []
    for size, result in run.gets(way):
        shares = [f"{result[k]:.1%}" for k in ("ratio", "ratio_min", "ratio_max")]
        busy = [f"{result[k]:.0%}" for k in ("client_busy", "server_busy", "limit_server_busy")]
        rows.append(row([f"{size}", f"{result['gets_per_s']:,.0f}", f"{result['limit_per_s']:,.0f}",
                         *shares, *busy]))
    return f"<div class='scroll'>{table(head, rows)}</div>" if rows else ""


def invalidation_table(run):
    head = ["the reader has", "writes", "since the write began: p50", "p99", "max",
            "since it returned: p50", "p99", "max", "gone by then"]
    rows = []
    for place, title in READERS:
        result = run.get(f"BM_Invalidation/{place}")
        if not result:
            continue
        times = [format_nanos(result[f"{since}_{k}_us"] * MICRO)
                 for since in ("begun", "returned") for k in ("p50", "p99", "max")]
        rows.append(row([title, f"{result['begun_samples']:,.0f}", *times,
                         f"{result['gone_first']:.1%}"]))
    return f"<div class='scroll'>{table(head, rows)}</div>" if rows else MISSING


def shade_health(axes, outage, end):
    changes = [*outage["health"], [end, ""]]
    for (start, health), (until, _) in zip(changes, changes[1:]):
        axes.axvspan(start, until, color=HEALTH.get(health, "#ffffff"), zorder=0.2, linewidth=0)
    for key in ("away_s", "back_s", "up_s"):
        axes.axvline(outage[key], color="#8a94a3", linewidth=1, linestyle=(0, (2, 3)), zorder=0.5)


def plot_outage(run, outage):
    figure, (latency, answers) = plt.subplots(2, 1, figsize=(9.4, 4.6), sharex=True,
                                              layout="constrained",
                                              gridspec_kw={"height_ratios": [1.5, 1]})
    times = [(i + 0.5) * run.bucket for i in range(len(outage["requests"]))]
    end = len(times) * run.bucket
    for axes in (latency, answers):
        report.style_axes(axes)
        shade_health(axes, outage, end)
    for key, color, width, label in (("max_ms", MAX, 1.1, "longest"), ("p99_ms", P99, 1.3, "p99"),
                                     ("p50_ms", LARDER, 1.7, "p50")):
        values = [float("nan") if v is None else v * MILLI for v in outage[key]]
        latency.plot(times, values, color=color, linewidth=width, label=label)
    latency.set_yscale("log")
    latency.yaxis.set_major_locator(FixedLocator([10.0**e for e in range(3, 10)]))
    latency.yaxis.set_major_formatter(FuncFormatter(lambda nanos, _: report.format_tick(nanos)))
    latency.yaxis.set_minor_locator(NullLocator())
    latency.set_ylim(1e4, 2e9)
    latency.legend(frameon=False, fontsize=8.5, loc="upper left", ncol=3, handlelength=1.2)
    answers.stackplot(times, *([n / run.bucket for n in outage[key]] for key, _, _ in SOURCES),
                      step="mid", colors=[color for _, _, color in SOURCES],
                      labels=[title for _, title, _ in SOURCES], linewidth=0)
    answers.set_ylim(bottom=0)
    answers.set_ylabel("answers/s")
    answers.yaxis.set_major_locator(MaxNLocator(4))
    answers.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    answers.legend(frameon=False, fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.32),
                   ncol=len(SOURCES), handlelength=1.2)
    answers.set_xlabel("seconds")
    answers.set_xlim(0, end)
    return report.to_svg(figure, f"{outage['title']}: latency, and who answered, over time")


def outage_table(run, outage):
    result = run.get(f"BM_RedisOutage/{outage['name']}")
    if not result:
        return ""
    head = ["", "requests", "errors", "p50", "p99", "max", "from memory", "p50", "p99", "joined",
            "Redis", "database"]
    rows = []
    for phase, title in PHASES:
        def get(counter):
            return result[f"{phase}_{counter}"]

        requests = get("samples")
        if not requests:
            continue
        share = {k: f"{get(k) / requests:.1%}"
                 for k in ("from_memory", "joined", "from_redis", "from_database")}
        rows.append(row([title, f"{requests:,.0f}", f"{get('errors'):,.0f}",
                         *(format_nanos(get(f"{k}_ms") * MILLI) for k in ("p50", "p99", "max")),
                         share["from_memory"],
                         *(format_nanos(get(f"memory_{k}_us") * MICRO) for k in ("p50", "p99")),
                         share["joined"], share["from_redis"], share["from_database"]]))
    return f"<div class='scroll'>{table(head, rows)}</div>"


def health_at(outage, seconds):
    return next(health for at, health in reversed(outage["health"]) if at <= seconds)


def tenths_table(run, outage):
    head = ["at", "Redis is", "requests", "errors", "p50", "p99", "max", "memory", "joined", "Redis",
            "database"]
    rows = []
    for i, requests in enumerate(outage["requests"]):
        if not requests:
            continue
        at = i * run.bucket
        rows.append(row([f"{at:.1f} s", health_at(outage, at), f"{requests}",
                         f"{outage['errors'][i]}",
                         *(format_nanos(outage[k][i] * MILLI) for k in ("p50_ms", "p99_ms", "max_ms")),
                         *(f"{outage[k][i] / requests:.1%}"
                           for k in ("memory", "joined", "redis", "database"))]))
    return (f"<details><summary>Each tenth of a second</summary><div class='scroll'>"
            f"{table(head, rows)}</div></details>")


def outages(run):
    if not run.outages:
        return MISSING
    return "".join(f"<h3>{html.escape(outage['title'])}</h3>{plot_outage(run, outage)}"
                   f"{outage_table(run, outage)}{tenths_table(run, outage)}"
                   for outage in run.outages)


def headline(run):
    """The few figures that someone in a hurry should take away."""
    cards = []
    memory, near = run.get("BM_Remote/memory/hit"), run.get("BM_Remote/loopback/hit")
    if memory and near:
        cards.append(card(format_nanos(near["p50_us"] * MICRO),
                          "for an answer that another server has put into Redis, "
                          f"{format_nanos(memory['p50_us'] * MICRO)} once it is in memory (p50)"))
    shared = run.gets("shared")
    if shared:
        size, result = shared[-1]
        cards.append(card(f"{result['ratio']:.0%}",
                          f"of redis-benchmark's GETs a second, with {size} threads that share one "
                          f"connection: {result['gets_per_s']:,.0f}"))
    invalidation = run.get("BM_Invalidation/loopback")
    if invalidation:
        cards.append(card(format_nanos(invalidation["begun_p99_us"] * MICRO),
                          "after another process began to write, its old copy is gone (p99)"))
    results = [run.get(f"BM_RedisOutage/{outage['name']}") for outage in run.outages]
    if results and all(results):
        errors = sum(result[f"{phase}_errors"] for result in results for phase, _ in PHASES)
        requests = sum(result[f"{phase}_samples"] for result in results for phase, _ in PHASES)
        cards.append(card(f"{errors:,.0f} errors",
                          f"in {requests:,.0f} requests while Redis dies or stands still, and comes "
                          "back"))
    return "".join(cards)


def write_report(run, template, path):
    report.set_plot_style()
    page = string.Template(template).substitute(
        style=report.style(),
        headline=headline(run),
        latencies=latency_table(run),
        gets_plot=plot_gets(run),
        gets_tables="".join(gets_table(run, *way) for way in WAYS),
        invalidations=invalidation_table(run),
        outages=outages(run),
        machine=report.machine_table(run.context),
    )
    Path(path).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(report.run_report(sys.argv[1:], __doc__, __file__, Run, write_report))
