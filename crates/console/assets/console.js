// What moves on a page: the viewer's own time, live numbers, charts. Pages are complete without it.
"use strict";

(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const within = (root, selector) => {
    const found = [...root.querySelectorAll(selector)];
    if (root.matches?.(selector)) found.unshift(root);
    return found;
  };

  // --- Times in the viewer's zone; the markup has UTC, and the title keeps it.

  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

  function localTimes(root) {
    for (const it of within(root, "time")) {
      const at = new Date(it.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const today = at.toDateString() === new Date().toDateString();
      it.textContent = today ? clock.format(at) : `${day.format(at)}, ${clock.format(at)}`;
    }
  }

  // --- Numbers as the pages show them: the same rules as in `show.rs`.

  function number(value) {
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size >= 1e9) return value.toExponential(2).replace("e+", "e");
    if (size >= 1e6) return `${(value / 1e6).toFixed(2)}M`;
    if (size >= 1e4) return `${(value / 1e3).toFixed(1)}k`;
    if (size >= 100) return value.toFixed(0);
    if (size >= 10) return value.toFixed(1);
    if (size >= 1) return value.toFixed(2);
    if (size >= 0.001) return value.toFixed(4);
    return value.toExponential(1);
  }

  function milliseconds(value) {
    if (value >= 10000) return `${(value / 1000).toFixed(0)} s`;
    if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
    if (value >= 100) return `${value.toFixed(0)} ms`;
    if (value >= 10) return `${value.toFixed(1)} ms`;
    if (value >= 1) return `${value.toFixed(2)} ms`;
    return `${(value * 1000).toFixed(0)} µs`;
  }

  function percent(share) {
    const value = share * 100;
    if (value === 0) return "0 %";
    if (value >= 99.95 || (value >= 9.95 && value < 90)) return `${value.toFixed(0)} %`;
    return value >= 0.095 ? `${value.toFixed(1)} %` : `${value.toFixed(2)} %`;
  }

  const SHOWN = {
    requests_per_s: (it) => `${number(it)}/s`,
    p50_ms: milliseconds,
    p99_ms: milliseconds,
    error_rate: percent,
  };

  // --- Live numbers: one stream for a page, none while nobody sees it.

  const live = { source: null, revision: null, last: Date.now(), points: new Map() };

  function say(text, isStale) {
    const place = document.getElementById("live");
    if (!place || place.textContent === text) return;
    place.textContent = text;
    place.classList.toggle("stale", isStale);
  }

  function listen() {
    if (live.source || document.hidden) return;
    live.source = new EventSource("/api/v1/overview/stream");
    live.source.addEventListener("overview", (event) => {
      live.last = Date.now();
      say("live", false);
      show(JSON.parse(event.data));
    });
    live.source.addEventListener("error", () => {
      say(`stale since ${clock.format(live.last)}`, true);
      // A browser gives up by itself where it was refused.
      if (live.source?.readyState === EventSource.CLOSED) {
        hush();
        setTimeout(listen, 5000);
      }
    });
  }

  function hush() {
    live.source?.close();
    live.source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
  window.addEventListener("pagehide", hush);

  function show(overview) {
    if (live.revision !== null && live.revision !== overview.revision) {
      htmx.trigger(document.body, "changed");
    }
    live.revision = overview.revision;
    for (const model of overview.models) {
      const row = document.querySelector(`[data-live-models] [data-model="${CSS.escape(model.name)}"]`);
      const point = model.recent.points.at(-1);
      if (!row || !point) continue;
      // The page itself has the newest point already; one that goes on comes again with the same beginning.
      const last = live.points.get(model.name);
      const isNew = last !== undefined && last !== model.recent.from_ms;
      live.points.set(model.name, model.recent.from_ms);
      for (const place of row.querySelectorAll("[data-live]")) {
        const name = place.dataset.live;
        const value = point[name];
        const text = value === undefined ? "–" : SHOWN[name](value);
        if (place.textContent !== text) place.textContent = text;
        const spark = place.parentElement.querySelector(".spark");
        if (spark) extend(spark, value ?? null, isNew);
      }
    }
  }

  const SPARK_POINTS = 60;

  function extend(spark, value, isNew) {
    const values = JSON.parse(spark.dataset.values);
    if (isNew || values.length === 0) values.push(value);
    else values[values.length - 1] = value;
    if (values.length > SPARK_POINTS) values.shift();
    spark.dataset.values = JSON.stringify(values);
    const most = Math.max(0, ...values.filter((it) => it !== null));
    const step = 100 / (SPARK_POINTS - 1);
    const first = SPARK_POINTS - values.length;
    let path = "";
    let isDown = false;
    values.forEach((it, place) => {
      if (it === null) {
        isDown = false;
        return;
      }
      const y = 23 - (most > 0 ? (it / most) * 22 : 0);
      path += `${isDown ? "L" : "M"}${((first + place) * step).toFixed(1)} ${y.toFixed(1)}`;
      isDown = true;
    });
    spark.firstElementChild.setAttribute("d", path);
  }

  // --- Charts. All of a page have one axis of time: whoever moves one moves all.

  const charts = new Set();
  const axis = { min: null, max: null, whole: null, isMoving: false };

  // For whoever asks what is shown: tests, and people at the browser's console.
  window.windlassAxes = () => [...charts].filter((it) => it.root.isConnected).map((it) => [it.scales.x.min, it.scales.x.max]);
  window.windlassMarks = () => marksOf(document.querySelector("[data-marks]"));

  // What is marked on all charts of a page: what it knew, and what came later with some of them.
  const marked = new WeakMap();

  function marksOf(page) {
    if (!page) return [];
    if (!marked.has(page)) marked.set(page, JSON.parse(page.dataset.marks));
    return marked.get(page);
  }

  function markMore(root) {
    for (const it of within(root, "[data-more-marks]")) {
      marksOf(it.closest("[data-marks]")).push(...JSON.parse(it.dataset.moreMarks));
      it.remove();
      for (const chart of charts) chart.redraw(false);
    }
  }

  function move(min, max) {
    if (axis.isMoving || !(max - min >= SPAN_MIN_S)) return;
    axis.isMoving = true;
    [axis.min, axis.max] = [min, max];
    for (const it of charts) {
      if (it.root.isConnected) it.setScale("x", { min, max });
      else charts.delete(it);
    }
    axis.isMoving = false;
  }

  const SPAN_MIN_S = 5;

  // Ticks as the viewer writes the time, as exactly as they are apart.
  const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const second = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

  function ticks(_chart, splits, _axis, _space, apart) {
    return splits.map((it) => {
      const at = new Date(it * 1000);
      if (apart >= 86400 || (at.getHours() === 0 && at.getMinutes() === 0 && apart >= 3600)) return date.format(at);
      return (apart < 60 ? second : hour).format(at);
    });
  }

  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 2], [1, 2]];

  // Below the lines of a page with marks there is a lane for labels that came.
  const LANE = 14;

  function base(place, marks) {
    const lane = place.closest("[data-marks]") ? LANE : 0;
    const ink = css("--ink");
    const grid = css("--grid");
    const font = "12px system-ui, sans-serif";
    return {
      width: Math.max(place.clientWidth, 200),
      height: 200 + lane,
      cursor: { sync: { key: "time", scales: ["x", null] }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
      scales: { x: { time: true, range: () => [axis.min, axis.max] } },
      axes: [
        { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, gap: 5 + lane, font, size: 50 + lane, values: ticks, space: 70 },
        { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, font, size: 64, values: (_, all) => all.map((it) => (it === null ? "" : number(it))) },
      ],
      hooks: {
        setSelect: [
          (it) => {
            if (it.select.width < 4) return;
            const [left, right] = [it.select.left, it.select.left + it.select.width];
            move(it.posToVal(left, "x"), it.posToVal(right, "x"));
            it.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          },
        ],
        draw: [(it) => drawMarks(it, marks)],
      },
    };
  }

  function drawMarks(chart, marks) {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    let free = 0;
    for (const mark of marks) {
      if (mark.at < axis.min || mark.at > axis.max) continue;
      const x = Math.round(chart.valToPos(mark.at, "x", true));
      ctx.strokeStyle = ctx.fillStyle = css(`--mark-${mark.kind}`) || css("--ink");
      if (mark.kind === "labels") {
        free = drawLabels(ctx, [x, bbox.top + bbox.height], mark.said, free);
        continue;
      }
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillText(mark.kind[0].toUpperCase(), x, bbox.top - 2 * devicePixelRatio);
    }
    ctx.restore();
  }

  // A mark in the lane, and how many labels it stands for where the one before leaves room.
  function drawLabels(ctx, [x, top], said, free) {
    const dot = devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x - 4 * dot, top + 7 * dot);
    ctx.lineTo(x + 4 * dot, top + 7 * dot);
    ctx.lineTo(x, top + dot);
    ctx.fill();
    const half = ctx.measureText(said).width / 2;
    if (x - half < free) return free;
    ctx.fillText(said, x, top + 17 * dot);
    return x + half + 4 * dot;
  }

  function lines(place, marks) {
    const told = JSON.parse(place.dataset.chart);
    const options = base(place, marks);
    const data = [told.times];
    options.series = [{ label: "time", value: (_, it) => (it === null ? "–" : second.format(it * 1000)) }];
    options.bands = [];
    told.lines.forEach((line, number_) => {
      const stroke = css(`--series-${number_ % 6}`);
      const dash = line.dashed ? [4, 4] : DASHES[number_ % DASHES.length];
      const value = (_, it) => (it === null || it === undefined ? "–" : `${number(it)} ${told.unit}`.trim());
      options.series.push({ label: line.name, stroke, width: 2, dash, spanGaps: true, value, points: { show: told.times.length < 40, size: 5 } });
      data.push(line.values);
      if (!line.low) return;
      for (const [end, values] of [["to", line.high], ["from", line.low]]) {
        options.series.push({ label: `${line.name} ${end}`, stroke: "transparent", width: 0, spanGaps: true, value, points: { show: false } });
        data.push(values);
      }
      options.bands.push({ series: [data.length - 2, data.length - 1], fill: `${stroke}33` });
    });
    if (told.bound !== undefined) {
      options.series.push({ label: "bound", stroke: css("--bad"), width: 1.5, dash: [2, 4], points: { show: false }, value: (_, it) => number(it ?? told.bound) });
      data.push(told.times.map(() => told.bound));
    }
    const values = data.slice(1).flat().filter((it) => it !== null && it > 0);
    if (told.log && values.length > 0) options.scales.y = { distr: 3, log: 10 };
    else options.scales.y = { range: (_, low, high) => spread(low, high) };
    const chart = new uPlot(options, data, place);
    // The ends of intervals are drawn as bands; the table has their numbers.
    const told_ = chart.root.querySelectorAll(".u-legend .u-series");
    options.series.forEach((it, place_) => (told_[place_].hidden = it.stroke === "transparent"));
    return chart;
  }

  function spread(low, high) {
    if (low === null) return [0, 1];
    const room = (high - low || Math.abs(high) || 1) * 0.1;
    return [low >= 0 && low < room * 5 ? 0 : low - room, high + room];
  }

  function heat(place, marks) {
    const told = JSON.parse(place.dataset.heat);
    const options = base(place, marks);
    const rows = told.rows.length;
    options.height = options.height - 140 + rows * 18;
    options.legend = { show: false };
    options.series = [{}, { stroke: "transparent", points: { show: false } }];
    options.scales.y = { range: [0, rows] };
    Object.assign(options.axes[1], {
      size: 130,
      splits: () => told.rows.map((_, row) => rows - row - 0.5),
      values: () => told.rows.map((row) => (row.name.length > 18 ? `${row.name.slice(0, 17)}…` : row.name)),
      grid: { show: false },
      ticks: { show: false },
    });
    options.hooks.draw.unshift((it) => drawCells(it, told));
    return new uPlot(options, [told.times, told.times.map(() => null)], place);
  }

  function drawCells(chart, told) {
    const { ctx, bbox } = chart;
    const rows = told.rows.length;
    const high = bbox.height / rows;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const gaps = told.times.slice(1).map((it, place) => it - told.times[place]);
    const usual = gaps.length > 0 ? [...gaps].sort((a, b) => a - b)[gaps.length >> 1] : 60;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    told.times.forEach((at, place) => {
      // A look is about what was before it.
      const from = Math.max(at - usual * 1.5, place > 0 ? told.times[place - 1] : at - usual);
      const [left, right] = [chart.valToPos(from, "x", true), chart.valToPos(at, "x", true)];
      told.rows.forEach((row, number_) => {
        const [value, verdict] = [row.values[place], row.verdicts[place]];
        if (value === null) return;
        const level = verdict === "bad" ? 3 : value >= 1 ? 2 : value >= 0.5 ? 1 : 0;
        ctx.fillStyle = css(`--cell-${level}`);
        const top = bbox.top + number_ * high;
        ctx.fillRect(left, top + 1, Math.max(right - left - 1, 1), high - 2);
        if (level >= 2 && right - left > 10 * devicePixelRatio) {
          ctx.fillStyle = css("--cell-ink");
          ctx.fillText(level === 3 ? "✕" : "!", (left + right) / 2, top + high / 2);
        }
      });
    });
    ctx.restore();
  }

  function draw(root) {
    if (typeof uPlot === "undefined") return;
    for (const place of within(root, "[data-chart], [data-heat]")) {
      if (place.firstChild) continue;
      const page = place.closest("[data-marks]");
      const marks = marksOf(page);
      const times = JSON.parse(place.dataset.chart ?? place.dataset.heat).times;
      if (page?.dataset.to) axis.whole = [Number(page.dataset.from), Number(page.dataset.to)];
      else axis.whole = [times[0], Math.max(times.at(-1), times[0] + 1)];
      if (axis.min === null || !page) [axis.min, axis.max] = [axis.whole[0], Math.max(axis.whole[1], axis.whole[0] + SPAN_MIN_S)];
      const chart = place.dataset.heat ? heat(place, marks) : lines(place, marks);
      charts.add(chart);
      watch(place, chart, page);
    }
  }

  function watch(place, chart, page) {
    chart.over.addEventListener("dblclick", () => move(...axis.whole));
    if (page?.dataset.why) {
      let from = null;
      chart.over.addEventListener("mousedown", (event) => (from = event.clientX));
      chart.over.addEventListener("mouseup", (event) => {
        if (from !== null && Math.abs(event.clientX - from) < 4) why(page, chart.posToVal(chart.cursor.left, "x"));
        from = null;
      });
    }
    chart.over.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.shiftKey) return;
        event.preventDefault();
        const at = chart.posToVal(chart.cursor.left, "x");
        const factor = (event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8;
        move(at - (at - axis.min) * factor, at + (axis.max - at) * factor);
      },
      { passive: false },
    );
    place.addEventListener("keydown", (event) => {
      const span = axis.max - axis.min;
      const moves = {
        ArrowLeft: [-0.1, -0.1],
        ArrowRight: [0.1, 0.1],
        "+": [0.1, -0.1],
        "-": [-0.125, 0.125],
      };
      if (event.key === "0" || event.key === "Escape") move(...axis.whole);
      else if (event.key === "Enter" && page?.dataset.why) why(page, (axis.min + axis.max) / 2);
      else if (moves[event.key]) {
        const [left, right] = moves[event.key];
        move(axis.min + span * left, axis.max + span * right);
      } else return;
      event.preventDefault();
    });
    new ResizeObserver(() => {
      const width = place.clientWidth;
      if (width > 0 && Math.abs(width - chart.width) > 1) chart.setSize({ width, height: chart.height });
    }).observe(place);
  }

  function why(page, at) {
    const moment = new Date(at * 1000).toISOString();
    const target = document.getElementById("why");
    if (!target) return;
    target.textContent = "Looking for what changed…";
    htmx.ajax("GET", `${page.dataset.why}?at=${encodeURIComponent(moment)}`, { target, swap: "innerHTML" }).then(() =>
      target.scrollIntoView({ block: "nearest" }),
    );
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    const drawn = [...charts];
    charts.clear();
    for (const it of drawn) {
      const place = it.root.parentElement;
      it.destroy();
      if (place?.isConnected) draw(place);
    }
  });

  // --- What is fetched again takes the place of what was there, but does not close what is open nor move who reads it.

  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    const active = document.activeElement;
    if (active && active !== document.body && active !== target && target.contains(active) && !event.detail.isError) {
      const isReload = (event.detail.requestConfig?.triggeringEvent?.type ?? "every") !== "load";
      if (isReload && target.id !== "why") event.detail.shouldSwap = false;
    }
    // Nor does it take away what somebody has typed.
    if (within(target, "input, textarea").some((it) => it.value !== it.defaultValue)) event.detail.shouldSwap = false;
    target.dataset.open = JSON.stringify(within(target, "details").map((it) => it.open));
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const target = event.detail.target;
    const open = JSON.parse(target.dataset.open ?? "[]");
    within(target, "details").forEach((it, place) => (it.open = open[place] ?? it.open));
  });

  document.addEventListener("htmx:sendError", () => say(`stale since ${clock.format(live.last)}`, true));

  document.addEventListener("htmx:load", (event) => {
    localTimes(event.detail.elt);
    draw(event.detail.elt);
    markMore(event.detail.elt);
  });

  // A command that is clicked is chosen whole, to be copied.
  document.addEventListener("click", (event) => {
    const code = event.target.closest?.(".command code");
    if (code) getSelection().selectAllChildren(code);
  });

  listen();
})();
