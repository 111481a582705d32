"use strict";
// Lists to look at, one for each query: everything comes from the JSON beside this script; texts of users are only ever
// set as text, pictures alone (which RDKit drew) as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const column = Object.fromEntries(data.columns.map((each) => [each.key, each]));
  const shown = data.columns.filter((each) => each.shown);
  const searched = data.searched.filter((key) => key in column), head = data.heading;
  const pictured = "smiles" in data.pictures, words = data.words;
  const state = { query: 0, key: "rank", ascending: true, order: [], selected: new Set() };
  const rowOf = new Map(); // number of a hit → its <tr>, of the query that is shown
  const $ = (id) => document.getElementById(id);

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }
  function draw(tag, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  // Values: numbers and flags as they are, texts by their number in the column's list.
  function value(key, i) {
    const of = column[key];
    return of.texts ? of.texts[of.values[i]] : of.values[i];
  }
  function number(x, of) {
    if (x === null) return "";
    if (of.decimals !== null) return x.toFixed(of.decimals);
    return String(Number(x.toPrecision(of.digits)));
  }
  function told(key, i) {
    const x = value(key, i);
    if (x === null || x === undefined) return "";
    if (column[key].kind === "flag") return x ? "yes" : "no";
    return column[key].kind === "number" ? number(x, column[key]) : x;
  }
  function picture(svg) {
    const holder = document.createElement("div");
    holder.innerHTML = svg;
    return holder.firstElementChild ?? make("span", { class: "no" }, "no picture");
  }
  const pictureOf = (key, i) => picture(data.pictures[key][column[key].values[i]]);

  // Dose curve: equal steps between doses, one scale for all hits of a query.
  let scale = [0, 1];
  function setScale([start, end]) {
    scale = scaleOf(data.curves.slice(start, end).flat(), 0);
  }
  function scaleOf(values, base) {
    const all = [...values.filter((x) => x !== null), base], low = Math.min(...all);
    return { low, high: Math.max(...all, low + 0.01), base };
  }
  function curveText(values) {
    return data.doses
      .map((dose, k) => [dose, values[k]])
      .filter(([, y]) => y !== null)
      .map(([dose, y]) => `${dose} µM ${y.toFixed(3)}`).join(", ");
  }
  function curve(values, width, height, labelled, { low, high, base } = scale) {
    const pad = labelled ? 34 : 4;
    const svg = draw("svg", { class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `cosine by dose: ${curveText(values)}` });
    const n = data.doses.length;
    const at = (k) => (n === 1 ? width / 2 : pad + (k * (width - 2 * pad)) / (n - 1));
    const up = (y) => height - pad - ((y - low) / (high - low)) * (height - 2 * pad);
    svg.append(draw("line", { x1: pad / 2, x2: width - pad / 2, y1: up(base), y2: up(base) }));
    const points = values.map((y, k) => [k, y]).filter(([, y]) => y !== null);
    svg.append(draw("polyline", { points: points.map(([k, y]) => `${at(k)},${up(y)}`).join(" ") }));
    for (const [k, y] of points) {
      svg.append(draw("circle", { cx: at(k), cy: up(y), r: labelled ? 3.5 : 2.5 }));
      if (!labelled) continue;
      const dose = draw("text", { x: at(k), y: height - 6, "text-anchor": "middle" });
      dose.textContent = `${data.doses[k]} µM`;
      const cosine = draw("text", { x: at(k), y: up(y) - 8, "text-anchor": "middle" });
      cosine.textContent = y.toFixed(2);
      svg.append(dose, cosine);
    }
    return svg;
  }
  function figure(drawing, caption) {
    return make("figure", {}, drawing, make("figcaption", {}, caption));
  }

  // Pictures are drawn when their row comes near: hundreds at once would keep the page from opening.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) complete(entry.target);
  }, { rootMargin: "800px", scrollMargin: "800px" });
  function complete(row) {
    near.unobserve(row);
    if (row.dataset.drawn) return;
    row.dataset.drawn = "yes";
    const i = Number(row.dataset.hit);
    row.querySelector(".picture")?.append(pictureOf("smiles", i));
    row.querySelector(".dose-curve")?.append(curve(data.curves[i], 84, 40, false));
  }

  function cell(of, i) {
    const text = told(of.key, i);
    if (of.kind === "flag" && text) {
      const warn = (of.key === "in_domain") !== value(of.key, i);
      const chip = make("span", { class: warn && of.warns ? "flag warn" : "flag" }, text);
      return make("td", { role: "cell", "data-label": of.title }, chip);
    }
    const kind = of.kind === "number" ? "number" : "text";
    return make("td", { role: "cell", class: kind, "data-label": of.title }, text);
  }
  function makeRow(i) {
    const id = told(head, i);
    const box = make("input", { type: "checkbox", "aria-label": `Select ${id}`,
      onchange: () => select(i, box.checked) });
    box.checked = state.selected.has(i);
    const row = make("tr", { role: "row", "data-hit": i, class: box.checked ? "selected" : null },
      make("td", { role: "cell", "data-label": "Select" }, box));
    for (const of of shown) {
      if (of.key === head) {
        const open = { type: "button", onclick: () => openDetail(i) };
        row.append(make("th", { scope: "row", role: "rowheader", "data-label": of.title }, id),
          make("td", { role: "cell", class: "plain" }, pictured
            ? make("button", { ...open, class: "picture",
              "aria-label": `Structure and details of ${id}` })
            : make("button", { ...open, "aria-label": `Details of ${id}` }, "Details")));
      } else row.append(cell(of, i));
      if (of.key === "cosine" && data.doses.length > 1)
        row.append(make("td", { role: "cell", class: "dose-curve", "data-label": "by dose" }));
    }
    return row;
  }

  function makeHead() {
    const row = make("tr", { role: "row" },
      make("th", { scope: "col", role: "columnheader" }, make("span", { class: "hidden" }, "Select")));
    for (const of of shown) {
      const heading = make("th", { scope: "col", role: "columnheader", "data-key": of.key,
        "aria-sort": "none", class: of.kind === "number" ? "number" : null, title: of.meaning });
      heading.append(make("button", { type: "button", onclick: () => sortBy(of.key) }, of.title));
      row.append(heading);
      if (of.key === head) row.append(make("th", { scope: "col", role: "columnheader" },
        pictured ? "structure" : make("span", { class: "hidden" }, "details")));
      if (of.key === "cosine" && data.doses.length > 1)
        row.append(make("th", { scope: "col", role: "columnheader" }, "by dose"));
      $("sort").append(make("option", { value: of.key }, of.title));
    }
    $("hits").tHead.append(row);
  }

  function sortBy(key, ascending) {
    // Of scores the largest come first when they are first asked for; a second click reverses.
    const first = !column[key].descends;
    state.ascending = ascending ?? (state.key === key ? !state.ascending : first);
    state.key = key;
    arrange();
    say();
  }
  function arrange() {
    const sign = state.ascending ? 1 : -1, key = state.key;
    state.order.sort((a, b) => {
      const x = value(key, a), y = value(key, b);
      const gap = (x === null || x === "") - (y === null || y === "");
      if (gap) return gap; // gaps are last, whatever the direction
      const by = typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      return sign * by || a - b;
    });
    $("hits").tBodies[0].append(...state.order.map((i) => rowOf.get(i)));
    for (const heading of document.querySelectorAll("#hits thead [data-key]")) {
      const own = heading.dataset.key === key;
      const sort = own ? (state.ascending ? "ascending" : "descending") : "none";
      heading.setAttribute("aria-sort", sort);
    }
    $("sort").value = key;
  }

  function makeFilters() {
    for (const of of data.columns.filter((each) => each.kind === "flag")) {
      const options = [["", "any"], ["1", "yes"], ["0", "no"]];
      const choice = make("select", { "data-flag": of.key },
        ...options.map(([key, text]) => make("option", { value: key }, text)));
      $("flags").append(make("label", {}, `${of.title} `, choice));
    }
    const ranges = $("ranges").lastElementChild;
    for (const of of data.columns.filter((each) => each.kind === "number")) {
      const ends = ["from", "to"].map((end) => make("input", { type: "number", step: "any",
        "data-range": of.key, "data-end": end, "aria-label": `${of.title} ${end}`,
        placeholder: end }));
      ranges.append(make("fieldset", {}, make("legend", {}, of.title), ...ends));
    }
    const form = $("filters");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", filter);
    form.addEventListener("reset", () => setTimeout(filter));
  }
  function filter() {
    const text = $("search").value.trim().toLowerCase();
    const flags = [...document.querySelectorAll("[data-flag]")].filter((each) => each.value);
    const ends = [...document.querySelectorAll("[data-range]")].filter((each) => each.value);
    const only = $("only-selected").checked;
    const keep = (i) =>
      (!text || searched.some((key) => told(key, i).toLowerCase().includes(text))) &&
      flags.every((each) => value(each.dataset.flag, i) === (each.value === "1")) &&
      ends.every((each) => {
        const x = value(each.dataset.range, i), end = Number(each.value);
        return x !== null && (each.dataset.end === "from" ? x >= end : x <= end);
      }) && (!only || state.selected.has(i));
    for (const [i, row] of rowOf) row.hidden = !keep(i);
    say();
  }
  const visible = () => state.order.filter((i) => !rowOf.get(i).hidden);

  function select(i, on) {
    mark(i, on);
    if ($("only-selected").checked) filter();
    else say();
  }
  function mark(i, on) {
    if (on) state.selected.add(i);
    else state.selected.delete(i);
    const row = rowOf.get(i);
    if (!row) return;
    row.classList.toggle("selected", on);
    row.querySelector("input").checked = on;
  }

  function say() {
    const n = visible().length, picked = state.selected.size;
    const many = (k, what) => `${k.toLocaleString("en")} ${what}`;
    $("count").textContent = `${many(n, "of")} ${many(state.order.length, `${words.rows} shown`)}, ` +
      `${many(picked, "selected")}${data.queries.length > 1 ? ` in all ${words.groups}` : ""}`;
    const what = picked ? many(picked, "selected") : many(n, "shown");
    for (const [kind, { called }] of Object.entries(files)) {
      const button = $(`download-${kind}`);
      button.textContent = `Download ${what} as ${called}`;
      button.disabled = !picked && !n;
    }
    $("select-none").disabled = !picked;
    $("select-shown").disabled = !n;
    $("empty").hidden = n > 0;
    $("empty").textContent = state.order.length
      ? `No ${words.row} passes these filters.` : `This ${words.group} has no ${words.rows}.`;
  }

  // Files: the selected hits of all queries, or those shown where none is selected.
  const chosen = () =>
    state.selected.size ? [...state.selected].sort((a, b) => a - b) : visible();
  const NUMBER = /^([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf)$/i;
  function csvCell(x) {
    if (x === null || x === undefined) return "";
    if (typeof x === "boolean") return x ? "True" : "False";
    let text = String(x);
    // As the package's own CSV files: no text is a formula to a spreadsheet.
    if (typeof x === "string" && /^'*[=+\-@\t\r]/.test(text) && !NUMBER.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }
  const names = [...data.columns.map((each) => each.key), ...data.curve_names];
  const line = (i) => [...data.columns.map((each) => value(each.key, i)),
    ...(data.curve_names.length ? data.curves[i] : [])];
  function csv(hits) {
    return [names, ...hits.map(line)].map((each) => each.map(csvCell).join(",")).join("\n") + "\n";
  }
  function smi(hits) {
    return hits.map((i) => `${told("smiles", i)}\t${told(head, i).replace(/\s+/g, " ")}\n`).join("");
  }
  // As the package's own SDF files: no text ends its line or its record.
  function sdfText(x) {
    const text = (typeof x === "boolean" ? (x ? "True" : "False") : String(x))
      .replace(/[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+/g, " ").trim();
    return /^(\$\$\$\$|>)/.test(text) ? ` ${text}` : text;
  }
  let unpacked = null; // what follows the first line of each structure's record
  function records() {
    const packed = Uint8Array.from(atob(data.records), (each) => each.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    unpacked ??= new Response(stream).text().then((text) => text.split("$$$$\n"));
    return unpacked;
  }
  async function sdf(hits) {
    const blocks = await records(), tags = names.map((name) => name.replace(/[<>]/g, ""));
    return hits.map((i) => sdfText(told(head, i)) + blocks[column.smiles.values[i]] +
      line(i).map((x, k) => [tags[k], x === null ? "" : sdfText(x)]).filter(([, text]) => text)
        .map(([tag, text]) => `>  <${tag}>\n${text}\n\n`).join("") + "$$$$\n").join("");
  }
  const files = { csv: { called: "CSV", type: "text/csv;charset=utf-8", of: csv } };
  if (data.records) {
    files.smi = { called: "SMILES", type: "chemical/x-daylight-smiles", of: smi };
    files.sdf = { called: "SDF", type: "chemical/x-mdl-sdfile", of: sdf };
  }
  async function download(kind) {
    const { type, of } = files[kind];
    const url = URL.createObjectURL(new Blob([await of(chosen())], { type }));
    make("a", { href: url, download: `selected_${data.file}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  function pairs(target, items) {
    target.replaceChildren(...items.flatMap(([name, text]) =>
      [make("dt", {}, name), make("dd", {}, text)]));
  }
  function openDetail(i) {
    const dialog = $("detail"), id = told(head, i);
    const figures = make("div", { class: "beside" });
    const add = (drawing, caption) => figures.append(figure(drawing, caption));
    if (pictured) add(pictureOf("smiles", i), `Structure of ${id}`);
    if ("nearest_smiles" in column && told("nearest_smiles", i))
      add(pictureOf("nearest_smiles", i), "Nearest training molecule " +
        ["nearest_id", "nearest_tanimoto"].filter((key) => key in column)
          .map((key) => told(key, i)).join(", Tanimoto "));
    if (data.doses.length > 1) add(curve(data.curves[i], 320, 170, true), "Cosine by dose");
    const list = make("dl", { class: "words" });
    pairs(list, data.columns.filter((of) => told(of.key, i))
      .map((of) => [of.title, told(of.key, i)]));
    const close = make("button", { type: "button", class: "close", onclick: () => dialog.close() },
      "Close");
    dialog.replaceChildren(make("h2", { id: "detail-title" }, id), close, figures, list);
    dialog.showModal();
  }

  function showQuery(k) {
    state.query = k;
    const query = data.queries[k], [start, end] = query.rows;
    $("query").value = k;
    $("previous").disabled = k === 0;
    $("next").disabled = k === data.queries.length - 1;
    $("query-name").textContent = query.name;
    $("query-warnings").replaceChildren(
      ...query.warnings.map((text) => make("p", { class: "warning" }, text)));
    pairs($("query-facts"), query.facts);
    $("query-figures").replaceChildren(
      ...query.pictures.map(([svg, caption]) => figure(picture(svg), caption)),
      ...query.curves.map(([values, base, caption]) =>
        figure(curve(values, 320, 170, true, scaleOf(values, base)), caption)));
    $("query-features").hidden = !query.features.length;
    const largest = Math.max(...query.features.map(([, x]) => Math.abs(x)), 1e-9);
    $("query-features").querySelector("tbody").replaceChildren(
      ...query.features.map(([name, x]) => {
        const bar = draw("svg", { class: "meter", viewBox: "-50 0 100 10", "aria-hidden": "true",
          preserveAspectRatio: "none" });
        const width = (50 * Math.abs(x)) / largest;
        bar.append(draw("line", { x1: 0, x2: 0, y1: 0, y2: 10 }), draw("rect", {
          x: x < 0 ? -width : 0, y: 1, width, height: 8, class: x < 0 ? "minus" : "plus" }));
        return make("tr", {}, make("th", { scope: "row" }, name),
          make("td", { class: "number" }, (x < 0 ? "−" : "+") + Math.abs(x).toFixed(1)),
          make("td", {}, bar));
      }));
    near.disconnect();
    rowOf.clear();
    if (data.doses.length) setScale(query.rows);
    state.order = Array.from({ length: end - start }, (_, i) => start + i);
    for (const i of state.order) rowOf.set(i, makeRow(i));
    $("hits").tBodies[0].replaceChildren();
    $("hits").caption.textContent = `${words.heading} of ${query.name}; sort by the buttons in the head`;
    arrange();
    for (const row of rowOf.values()) near.observe(row);
    filter();
  }

  document.title = data.title;
  $("what").textContent = data.summary;
  pairs($("about"), data.about);
  pairs($("meanings"), data.columns.map((of) => [of.title, of.meaning]).filter(([, text]) => text));
  data.queries.forEach((query, k) => $("query").append(make("option", { value: k }, query.label)));
  $("query").closest(".bar").hidden = data.queries.length < 2;
  $("query").addEventListener("change", (event) => showQuery(Number(event.target.value)));
  $("previous").addEventListener("click", () => showQuery(state.query - 1));
  $("next").addEventListener("click", () => showQuery(state.query + 1));
  $("sort").addEventListener("change", (event) =>
    sortBy(event.target.value, !column[event.target.value].descends));
  $("direction").addEventListener("click", () => sortBy(state.key, !state.ascending));
  $("select-shown").addEventListener("click", () => {
    for (const i of visible()) mark(i, true);
    say();
  });
  $("select-none").addEventListener("click", () => {
    for (const i of [...state.selected]) mark(i, false);
    filter();
  });
  for (const kind of ["csv", "smi", "sdf"]) {
    $(`download-${kind}`).hidden = !(kind in files);
    $(`download-${kind}`).addEventListener("click", () => download(kind));
  }
  addEventListener("beforeprint", () => rowOf.forEach((row) => complete(row)));
  // On a telephone the list would lie below a screen of features.
  $("query-features").open = !matchMedia("(max-width: 760px)").matches;
  makeHead();
  makeFilters();
  if (data.queries.length) showQuery(0);
  performance.mark("hits-shown");
})();
