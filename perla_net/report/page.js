"use strict";
// Draws the figures with plotly.js when they come into sight; tabs, folds, choices, sliders; sorts and copies tables. Asks no
// network for anything.
(() => {
  const kept = JSON.parse(document.getElementById("figures").textContent);
  const { colours, dashes, figures } = kept;
  const coarse = matchMedia("(pointer: coarse)").matches; // a finger on a figure scrolls the page
  const settings = { responsive: true, displaylogo: false, displayModeBar: coarse ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  const plain = { ...settings, displayModeBar: false };
  const PRINTED = 690, TALL = 390; // width of a plot on A4 and its greatest height, in pixels
  const WIDTHS = 5; // Plotly's lines have one width each: edges are drawn in so many classes of bytes
  const FONT = { family: "system-ui, sans-serif", size: 12, color: "#1d2730" };
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const escaped = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const amount = (bytes) => {
    const power = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
    return `${Number((bytes / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB"][power]}`;
  };
  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

  // The page keeps every array once, as text: exact numbers, or 16 bits of their span. Plotly gets plain arrays.
  const decoded = new Map();
  function numbers(index) {
    if (index === undefined || index === null) return null;
    if (!decoded.has(index)) {
      const { f, u, low, step } = kept.arrays[index];
      const bytes = f || u ? Uint8Array.from(atob(f || u), (letter) => letter.charCodeAt(0)).buffer : null;
      const codes = u ? [...new Uint16Array(bytes)].map((code) => (code === 65535 ? null : low + code * step)) : null;
      decoded.set(index, f ? [...new Float32Array(bytes)] : codes || kept.arrays[index]);
    }
    return decoded.get(index);
  }

  const colour = (number) => colours[number % colours.length];
  const faded = (number, opacity) => colour(number) + Math.round(opacity * 255).toString(16).padStart(2, "0");
  const beyond = (ends, y, sign) => ends.map((end, k) => sign * (end - y[k]));

  const makers = {
    lines: (chart, hover) => chart.series.flatMap((one, k) => {
      const [exact, y, low, high] = [one.x, one.y, one.low, one.high].map(numbers);
      const x = exact.map((value) => Math.max(value, chart.x.floor ?? -Infinity));
      const dash = one.style === "dashed" ? "dash" : dashes[Math.floor(one.colour / colours.length) % dashes.length];
      const line = {
        type: "scatter", x, y, customdata: exact, meta: one.name, name: one.entry || one.name, showlegend: one.entry !== "", hovertemplate: hover,
        legendgroup: `${k}`, marker: { size: 4 },
        mode: x.length < 30 ? "lines+markers" : "lines", line: { color: colour(one.colour), width: one.style === "dashed" ? 1.2 : 2, dash },
      };
      const band = low && {
        type: "scatter", x: [...x, ...[...x].reverse()], y: [...high, ...[...low].reverse()], fill: "toself", mode: "lines", line: { width: 0 },
        fillcolor: faded(one.colour, chart.series.length <= colours.length ? 0.14 : 0.05), hoverinfo: "skip", showlegend: false, legendgroup: `${k}`,
      };
      return band ? [band, line] : [line];
    }),
    points: (chart, hover) => chart.series.map((one) => {
      const [exact, y, low, high] = [one.x, one.y, one.low, one.high].map(numbers);
      const faint = one.style === "faint";
      return {
        type: "scatter", mode: "markers", x: exact.map((value) => Math.max(value, chart.x.floor ?? -Infinity)), y, customdata: exact, meta: one.name, name: one.name,
        hovertemplate: hover, showlegend: !faint, error_y: low ? { array: beyond(high, y, 1), arrayminus: beyond(low, y, -1), thickness: 1.5 } : {},
        marker: { size: faint ? 6 : 11, color: faint ? faded(one.colour, 0.35) : colour(one.colour), symbol: Math.floor(one.colour / colours.length) % 4 },
      };
    }),
    bars: (chart) => chart.series.map((one) => ({
      type: "bar", orientation: "h", x: numbers(one.x), y: one.y, name: one.name, marker: { color: colour(one.colour) },
      hovertemplate: `<b>%{y}</b><br>%{fullData.name}: %{x:.3~g} ${chart.x.unit}<extra></extra>`,
    })),
    intervals: (chart) => chart.series.map((one) => {
      const [x, low, high] = [one.x, one.low, one.high].map(numbers);
      return {
        type: "scatter", mode: "markers", x, y: one.y, name: one.name, marker: { size: 10, color: colour(one.colour) },
        error_x: { array: beyond(high, x, 1), arrayminus: beyond(low, x, -1), thickness: 2 },
        hovertemplate: `<b>%{y}</b><br>${chart.x.label}: %{x:.4~g}<extra></extra>`,
      };
    }),
  };

  function axis({ label, unit, range, floor, ticks }) {
    const shown = { title: { text: label, standoff: 8 }, automargin: true, gridcolor: "#e6eaed", zeroline: false, linecolor: "#8a949c", ticks: "outside", tickcolor: "#8a949c" };
    if (unit === "B") Object.assign(shown, { tickformat: "~s", ticksuffix: "B" });
    if (unit === "s") shown.ticksuffix = " s";
    if (range) shown.range = floor ? range.map(Math.log10) : [...range];
    if (floor) Object.assign(shown, { type: "log", tickvals: ticks.map((tick) => tick[0]), ticktext: ticks.map((tick) => tick[1]), ticksuffix: "" });
    return shown;
  }

  // What plotly.js draws of a chart; small: its height on the first screen, where the ranking tells the colours.
  function drawing(chart, width, small = 0) {
    const hover = `<b>%{meta}</b><br>${chart.x.label}: %{customdata:.4~s}${chart.x.unit}<br>${chart.y.label}: %{y:.5~g}<extra></extra>`;
    const data = makers[chart.kind](chart, hover);
    const across = ["bars", "intervals"].includes(chart.kind);
    const names = new Set(across ? chart.series.flatMap((one) => one.y) : []);
    const legend = !small && chart.kind !== "intervals";
    const entries = legend ? chart.series.filter((one) => one.style !== "faint" && one.entry !== "").map((one) => (one.entry || one.name).length) : [];
    const columns = Math.max(1, Math.min(3, Math.floor(Math.min(84, width / 7.6) / Math.max(1, ...entries)))); // that also fit on paper
    const rows = Math.ceil(entries.length / columns);
    const layout = {
      height: small || Math.max(220, across ? 90 + 26 * names.size : 380) + 22 * rows, font: FONT, hoverlabel: { namelength: -1 }, hovermode: "closest",
      margin: { l: 12, r: 16, t: across ? 30 : 12, b: across ? 12 : small ? 40 : 62 + 20 * rows }, barmode: "stack", showlegend: legend, dragmode: coarse ? false : "zoom",
      legend: { orientation: "h", traceorder: "normal", yref: across ? "paper" : "container", y: across ? 1.02 : 0, yanchor: "bottom", x: 0 },
      xaxis: axis(chart.x), yaxis: axis(chart.y),
    };
    if (across) Object.assign(layout.yaxis, { type: "category", autorange: "reversed", automargin: true, showgrid: chart.kind === "intervals" });
    if (chart.reference !== null) {
      layout.shapes = [{ type: "line", xref: "x", yref: "paper", x0: chart.reference, x1: chart.reference, y0: 0, y1: 1, line: { color: "#8a949c", width: 1, dash: "dot" } }];
    }
    return { data, layout };
  }

  // The edges of a graph's stop as [pair, whether in the graph, bytes by purpose …]; the page keeps what differs from the stop before.
  function unfolded(graph) {
    if (graph.edges) return;
    graph.edges = graph.pairs;
    let before = [];
    for (const stop of graph.stops) {
      before = stop.edges || before;
      const [edges, flat] = [[], before];
      for (let k = 0; k < flat.length; k += 2) edges.push([flat[k], ...graph.loads[flat[k + 1]]]);
      stop.edges = edges;
    }
  }

  // The traces of a graph at one stop of its slider, for a drawing of some pixels.
  function traces(graph, stop, width, height, small) {
    const places = graph.positions;
    const count = places.length;
    const size = (count <= 24 ? 22 : count <= 80 ? 14 : 8) * (small && count > 8 ? 0.75 : 1);
    const thin = Math.max(0.3, Math.min(1, Math.sqrt((small ? 30 : 60) / Math.max(1, stop.edges.length)))); // many edges are to be told apart, too
    const gap = (size / 2) * (1.22 / Math.min(width, height)); // the radius of a node, in units of the drawing
    const wide = width > 1.4 * height; // there is room for names beside the outermost nodes
    const beside = ([x, y]) => wide && (x < 0.02 || x > 0.98) ? `middle ${x < 0.5 ? "left" : "right"}` : `${y >= 0.5 ? "top" : "bottom"} center`;
    const named = count <= (small ? 16 : 40);
    const most = graph.stops.flatMap((other, at) => (at ? other.edges : graph.stops.length > 1 ? [] : other.edges));
    const largest = Math.max(1e-9, ...[...most, ...stop.edges].map((edge) => sum(edge.slice(2))));
    const lines = new Map();
    const hover = { x: [], y: [], text: [] };
    for (const [pair, there, ...bytes] of stop.edges) {
      const [from, to] = graph.edges[pair];
      const [dx, dy] = [places[to][0] - places[from][0], places[to][1] - places[from][1]];
      const length = Math.hypot(dx, dy) || 1;
      const [ux, uy] = [dx / length, dy / length];
      // Beside the straight line, so that both directions of a link are seen; from rim to rim of the nodes.
      const side = gap * 0.45;
      const start = [places[from][0] + ux * gap * 1.3 - uy * side, places[from][1] + uy * gap * 1.3 + ux * side];
      const end = [places[to][0] - ux * gap * 1.5 - uy * side, places[to][1] - uy * gap * 1.5 + ux * side];
      const total = sum(bytes);
      const kind = `${Math.ceil((total / largest) * WIDTHS)}|${there}`;
      if (!lines.has(kind)) lines.set(kind, { x: [], y: [], size: [] });
      const line = lines.get(kind);
      line.x.push(start[0], end[0], null);
      line.y.push(start[1], end[1], null);
      line.size.push(0, thin * ((count <= 80 ? 9 : 6) + Math.ceil((total / largest) * WIDTHS)), 0);
      hover.x.push(start[0] * 0.4 + end[0] * 0.6);
      hover.y.push(start[1] * 0.4 + end[1] * 0.6);
      const parts = graph.purposes.map((name, k) => [name, bytes[k]]).filter(([, b]) => b > 0).sort((a, b) => b[1] - a[1]);
      hover.text.push(
        `<b>${escaped(graph.agents[from])} → ${escaped(graph.agents[to])}</b>${there ? "" : "<br>not an edge of the graph (team traffic, or relayed)"}` +
          `<br>${amount(total)} a round` + parts.map(([name, b]) => `<br>${escaped(name)}: ${amount(b)}`).join("")
      );
    }
    const drawn = [...lines].sort().map(([kind, line]) => {
      const [level, there] = kind.split("|").map(Number);
      return {
        type: "scatter", mode: "lines+markers", x: line.x, y: line.y, hoverinfo: "skip", showlegend: false,
        line: { width: thin * (0.8 + 0.9 * level), color: there ? `rgba(91,106,117,${0.75 * thin})` : "rgba(213,94,0,0.6)", dash: there ? "solid" : "dot" },
        marker: { symbol: "arrow", angleref: "previous", size: line.size, color: there ? "#44525d" : "#d55e00", opacity: Math.min(1, 1.4 * thin), line: { width: 0 } },
      };
    });
    const known = graph.stops.flatMap((other) => other.returns).filter((value) => value !== null);
    const received = places.map(() => 0), sent = places.map(() => 0), heard = places.map(() => []);
    for (const [pair, there, ...bytes] of stop.edges) {
      const [from, to] = graph.edges[pair];
      sent[from] += sum(bytes);
      received[to] += sum(bytes);
      if (there) heard[to].push(graph.agents[from]);
    }
    const text = graph.agents.map((name, i) =>
      `<b>${escaped(name)}</b><br>${graph.unit}: ${stop.returns[i] === null ? "no episode ended" : Number(stop.returns[i].toPrecision(5))}` +
      `<br>sends ${amount(sent[i])}, receives ${amount(received[i])} a round` +
      `<br>hears ${heard[i].length ? escaped(heard[i].slice(0, 8).join(", ")) + (heard[i].length > 8 ? ", …" : "") : "nobody"}`
    );
    return [
      ...drawn,
      { type: "scatter", mode: "markers", x: hover.x, y: hover.y, text: hover.text, hovertemplate: "%{text}<extra></extra>",
        showlegend: false, marker: { size: 12, color: "rgba(0,0,0,0)" }, name: "edges" },
      { type: "scatter", mode: named ? "markers+text" : "markers", x: places.map((p) => p[0]), y: places.map((p) => p[1]),
        text: graph.agents.map(escaped), textfont: { size: 11, shadow: Array(4).fill("0 0 2px #fff").join(", ") },
        textposition: places.map(beside), customdata: text,
        hovertemplate: "%{customdata}<extra></extra>", showlegend: false, name: "agents",
        marker: { size, color: stop.returns, colorscale: "Viridis", cmin: Math.min(...known), cmax: Math.max(...known), showscale: known.length > 0,
          colorbar: { title: { text: graph.unit, side: "right" }, thickness: 14, outlinewidth: 0 }, line: { width: 1.5, color: "#fff" } } },
    ];
  }

  function showGraph(figure, graph, plot, small) {
    unfolded(graph);
    const slider = figure.querySelector("input"), output = figure.querySelector(small ? ".sentence" : "output");
    const height = small ? 300 : 560;
    const layout = {
      height, margin: { l: 10, r: 10, t: 10, b: 10 }, hovermode: "closest", font: FONT, dragmode: coarse ? false : "pan",
      xaxis: { visible: false, range: plot.clientWidth < 500 ? [-0.18, 1.18] : [-0.08, 1.08] }, yaxis: { visible: false, range: [-0.12, 1.12], scaleanchor: "x" },
    };
    const move = () => {
      const at = slider ? Number(slider.value) : 0;
      const stop = graph.stops[at];
      const span = stop.first === stop.last ? `round ${stop.first}` : `rounds ${stop.first} to ${stop.last}`;
      const total = sum(stop.edges.map((edge) => sum(edge.slice(2))));
      const edges = stop.edges.filter((edge) => edge[1]).length;
      output.textContent = `${at ? "" : "whole run, "}${span}: ${edges} directed edges, ${amount(total)} a round`;
      if (small) output.textContent = `${edges} directed edges, ${amount(total)} a round; an arrow is as wide as its bytes.`;
      Plotly.react(plot, traces(graph, stop, plot.clientWidth - 120, height - 20, small), layout, small ? plain : settings);
    };
    if (slider && !figure.dataset.drawn) slider.addEventListener("input", move);
    move();
  }

  // Single runs, of which those are drawn that the pressed buttons ask for; the table of runs has the same rows.
  function showRuns(figure, chart, plot) {
    const pressed = {};
    for (const chip of all(".chips button[aria-pressed=true]", figure)) (pressed[chip.dataset.axis] ||= []).push(chip.dataset.value);
    const axes = Object.entries(pressed);
    const wanted = chart.series.filter((one) => axes.every(([axis, values]) => values.includes(one.facets[axis] ?? "")));
    const groups = new Set(wanted.map((one) => one.group));
    // Few runs have a colour each; many that of their setting, which has one entry in the legend.
    const told = new Set();
    const series = wanted.map((one, k) => {
      if (wanted.length <= colours.length) return { ...one, colour: k };
      const first = !told.has(one.group) && groups.size <= 20;
      told.add(one.group);
      return { ...one, entry: first ? escaped(one.group) : "" };
    });
    const { data, layout } = drawing({ ...chart, series }, plot.clientWidth);
    Plotly.react(plot, data, layout, settings);
    for (const row of all("tr[data-group]", figure.closest("section"))) row.hidden = axes.length > 0 && !groups.has(row.dataset.group);
  }

  function show(figure) {
    const shown = figures[figure.dataset.key], plot = figure.querySelector(".plot"), small = figure.dataset.view === "first";
    if (figure.dataset.drawn === figure.dataset.key) return;
    if (shown.stops) {
      showGraph(figure, shown, plot, small);
    } else if (figure.querySelector(".chips")) {
      showRuns(figure, shown, plot);
    } else {
      const { data, layout } = drawing(shown, plot.clientWidth, small && (figure.parentElement.querySelector(".graph") ? 280 : 380));
      Plotly.newPlot(plot, data, layout, small ? plain : settings);
    }
    if (small) {
      const text = document.getElementById(`figure-${figure.dataset.key}`);
      figure.querySelector("h3").textContent = text.querySelector("h3").textContent;
      if (!shown.stops) figure.querySelector(".sentence").textContent = text.querySelector(".sentence").textContent;
    }
    figure.dataset.drawn = figure.dataset.key;
  }

  // What can be seen is drawn; the rest when its tab or fold is opened, or for paper.
  const inSight = () => all("figure").filter((figure) => figure.offsetParent !== null);
  const draw = () => inSight().forEach(show);

  const tabs = all("[role=tab]"), panels = all("[role=tabpanel]");
  function open(number, focus) {
    tabs.forEach((tab, k) => {
      tab.setAttribute("aria-selected", k === number);
      tab.tabIndex = k === number ? 0 : -1;
      panels[k].hidden = k !== number;
    });
    if (focus) tabs[number].focus();
    draw();
  }
  tabs.forEach((tab, k) => {
    tab.addEventListener("click", () => open(k));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: (k + 1) % tabs.length, ArrowLeft: (k + tabs.length - 1) % tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      open(to, true);
    });
  });
  all("details").forEach((fold) => fold.addEventListener("toggle", draw));
  for (const choices of all(".choices")) {
    choices.querySelector("select").addEventListener("change", (event) => {
      for (const figure of all("figure", choices)) figure.hidden = figure.dataset.key !== event.target.value;
      draw();
    });
  }
  for (const chip of all(".chips button")) {
    chip.addEventListener("click", () => {
      const figure = chip.closest("figure");
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
      showRuns(figure, figures[figure.dataset.key], figure.querySelector(".plot"));
    });
  }

  // The first screen: a setting that is pressed stands out in the curve, and its graph is shown.
  document.getElementById("task")?.addEventListener("change", (event) => {
    for (const one of all(".overview")) one.hidden = one.dataset.number !== event.target.value;
    draw();
  });
  for (const button of all(".ranking button")) {
    button.addEventListener("click", () => {
      const screen = button.closest(".overview");
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const other of all(".ranking button", screen)) other.setAttribute("aria-pressed", on && other === button);
      const curve = screen.querySelector(".curve"), graph = screen.querySelector(".graph");
      if (curve) {
        const series = figures[curve.dataset.key].series;
        const plot = curve.querySelector(".plot");
        const opacity = plot.data.map((trace) => (!on || series[Number(trace.legendgroup)].colour === Number(button.dataset.colour) ? 1 : 0.12));
        Plotly.restyle(plot, { opacity });
      }
      if (graph && on && button.dataset.graph) {
        graph.dataset.key = button.dataset.graph;
        show(graph);
      }
    });
  }
  open(0);

  // On paper everything is there; plots are as wide as it is, and low enough for two on a page.
  let before = [];
  window.addEventListener("beforeprint", () => {
    before = [...panels.map((panel) => [panel, "hidden", panel.hidden]), ...all("details").map((fold) => [fold, "open", fold.open])];
    before.forEach(([element, name]) => { element[name] = name === "open"; });
    draw();
    for (const figure of inSight()) {
      const plot = figure.querySelector(".plot");
      plot.dataset.height = plot.layout.height;
      Plotly.relayout(plot, { width: PRINTED, height: Math.min(plot.layout.height, TALL) });
    }
  });
  window.addEventListener("afterprint", () => {
    for (const plot of all(".plot[data-height]")) {
      Plotly.relayout(plot, { width: null, height: Number(plot.dataset.height), autosize: true });
      delete plot.dataset.height;
    }
    before.forEach(([element, name, value]) => { element[name] = value; });
  });

  // Tables: numbers by value, texts by the alphabet, what is not known last.
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent === "–" ? null : cell.textContent;
  };
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  for (const table of all(".table")) {
    const heads = all("th", table);
    const body = table.querySelector("tbody");
    heads.forEach((head, column) => head.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((one, two) => {
        const [a, b] = [value(one, column), value(two, column)];
        if (a === null || b === null) return (a === null) - (b === null);
        return down ? order(b, a) : order(a, b);
      });
      body.append(...rows);
    }));
    const button = table.querySelector(".copy");
    button.addEventListener("click", async () => {
      const clean = (cell) => ("value" in cell.dataset ? cell.dataset.value : cell.textContent === "–" ? "" : cell.textContent.replace(/\s+/g, " "));
      const text = all("tr:not([hidden])", table).map((row) => [...row.cells].map(clean).join("\t")).join("\n");
      const done = await copy(text);
      button.textContent = done ? "copied" : "could not be copied";
      setTimeout(() => { button.textContent = "copy as TSV"; }, 1500);
    });
  }

  // The clipboard of a page that was opened as a file may be closed to scripts: then by way of a selection.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }
})();
