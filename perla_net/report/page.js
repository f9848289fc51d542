"use strict";
// Draws the figures with plotly.js, moves the graphs' sliders, sorts and copies tables. Asks no network for anything.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const settings = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  const PRINTED = 690, TALL = 390; // width of a plot on A4 and its greatest height, in pixels
  const WIDTHS = 5; // Plotly's lines have one width each: edges are drawn in so many classes of bytes
  const escaped = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const amount = (bytes) => {
    const power = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
    return `${Number((bytes / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB"][power]}`;
  };
  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

  // The traces of a graph at one stop of its slider.
  function traces(graph, stop) {
    const places = graph.positions;
    const count = places.length;
    const size = count <= 24 ? 22 : count <= 80 ? 14 : 8;
    const gap = size / 900; // the radius of a node, in units of the drawing
    const all = graph.stops.flatMap((other, at) => (at ? other.edges : graph.stops.length > 1 ? [] : other.edges));
    const largest = Math.max(1e-9, ...all.map((edge) => sum(edge.slice(2))), ...stop.edges.map((edge) => sum(edge.slice(2))));
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
      line.size.push(0, (count <= 80 ? 9 : 6) + Math.ceil((total / largest) * WIDTHS), 0);
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
        line: { width: 0.8 + 0.9 * level, color: there ? "rgba(91,106,117,0.75)" : "rgba(213,94,0,0.6)", dash: there ? "solid" : "dot" },
        marker: { symbol: "arrow", angleref: "previous", size: line.size, color: there ? "#44525d" : "#d55e00", opacity: 1, line: { width: 0 } },
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
      { type: "scatter", mode: count <= 40 ? "markers+text" : "markers", x: places.map((p) => p[0]), y: places.map((p) => p[1]),
        text: graph.agents.map(escaped), textfont: { size: 11, shadow: Array(4).fill("0 0 2px #fff").join(", ") },
        textposition: places.map((p) => (p[1] >= 0.5 ? "top center" : "bottom center")), customdata: text,
        hovertemplate: "%{customdata}<extra></extra>", showlegend: false, name: "agents",
        marker: { size, color: stop.returns, colorscale: "Viridis", cmin: Math.min(...known), cmax: Math.max(...known), showscale: known.length > 0,
          colorbar: { title: { text: graph.unit, side: "right" }, thickness: 14, outlinewidth: 0 }, line: { width: 1.5, color: "#fff" } } },
    ];
  }

  const plane = () => ({
    height: 560, margin: { l: 10, r: 10, t: 10, b: 10 }, hovermode: "closest", font: { family: "system-ui, sans-serif", size: 12, color: "#1d2730" },
    xaxis: { visible: false, range: [-0.08, 1.08] }, yaxis: { visible: false, range: [-0.08, 1.1], scaleanchor: "x" }, dragmode: "pan",
  });

  function show(figure) {
    const { chart, graph } = figures[figure.dataset.key];
    const plot = figure.querySelector(".plot");
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "yes";
    if (chart) {
      Plotly.newPlot(plot, chart.data, chart.layout, settings);
      return;
    }
    const slider = figure.querySelector("input"), output = figure.querySelector("output");
    const layout = plane();
    const move = () => {
      const stop = graph.stops[Number(slider.value)];
      const span = stop.first === stop.last ? `round ${stop.first}` : `rounds ${stop.first} to ${stop.last}`;
      const total = sum(stop.edges.map((edge) => sum(edge.slice(2))));
      const edges = stop.edges.filter((edge) => edge[1]).length;
      output.textContent = `${slider.value === "0" ? "whole run, " : ""}${span}: ${edges} directed edges, ${amount(total)} a round`;
      Plotly.react(plot, traces(graph, stop), layout, settings);
    };
    slider.addEventListener("input", move);
    move();
  }

  for (const figure of document.querySelectorAll("figure:not([hidden])")) show(figure);
  for (const choices of document.querySelectorAll(".choices")) {
    choices.querySelector("select").addEventListener("change", (event) => {
      for (const figure of choices.querySelectorAll("figure")) figure.hidden = figure.dataset.key !== event.target.value;
      show(choices.querySelector("figure:not([hidden])"));
    });
  }

  // Plots keep the size that they were drawn with: on paper they are as wide as it is, and low enough for two on a page.
  const plots = () => [...document.querySelectorAll("figure:not([hidden]) .plot")];
  const height = (plot) => { plot.dataset.height ||= plot.layout.height; return Number(plot.dataset.height); };
  window.addEventListener("beforeprint", () => plots().forEach((plot) => Plotly.relayout(plot, { width: PRINTED, height: Math.min(height(plot), TALL) })));
  window.addEventListener("afterprint", () => plots().forEach((plot) => Plotly.relayout(plot, { width: null, height: height(plot), autosize: true })));

  // Tables: numbers by value, texts by the alphabet, what is not known last.
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent === "–" ? null : cell.textContent;
  };
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  for (const table of document.querySelectorAll(".table")) {
    const heads = [...table.querySelectorAll("th")];
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
      const text = [...table.querySelectorAll("tr")].map((row) => [...row.cells].map(clean).join("\t")).join("\n");
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
