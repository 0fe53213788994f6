"use strict";
(() => {
  const run = JSON.parse(document.getElementById("run").textContent);
  const $ = (id) => document.getElementById(id);
  document.documentElement.classList.add("scripted");

  // The robot, the chart's cursor and the numbers follow one time.
  const time = $("time");
  const fields = {};
  for (const field of document.querySelectorAll("[data-now]")) fields[field.dataset.now] = field;
  const before = (series, t) => {
    let low = 0, high = series.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (series[middle][0] <= t) low = middle; else high = middle - 1;
    }
    return series[low];
  };
  const mps = (value) => (value === null || value === undefined ? "none" : value.toFixed(2) + " m/s");
  const show = (t) => {
    time.value = t;
    const { left, width, from, to } = run.chart;
    const x = left + Math.min(1, Math.max(0, (t - from) / (to - from))) * width;
    $("cursor").setAttribute("x1", x);
    $("cursor").setAttribute("x2", x);
    fields.t.textContent = t.toFixed(1) + " s";
    const at = before(run.path, t), robot = $("robot");
    if (at && robot) {
      const px = (at[1] - run.map.left) * run.map.scale, py = (run.map.top - at[2]) * run.map.scale;
      robot.setAttribute("transform", `translate(${px} ${py}) rotate(${(-at[3] * 180) / Math.PI})`);
      fields.v.textContent = mps(at[4]);
    }
    const sample = before(run.samples, t);
    if (sample) {
      fields.asked.textContent = mps(sample[1]);
      fields.allowed.textContent = mps(sample[2]);
      fields.limit.textContent = mps(sample[3]);
    }
  };
  time.min = run.chart.from;
  time.max = run.chart.to;
  time.addEventListener("input", () => { stop(); show(Number(time.value)); });
  const chart = $("chart");
  chart.addEventListener("pointermove", (event) => {
    if (playing) return;
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    const part = (x - run.chart.left) / run.chart.width;
    if (part >= 0 && part <= 1) show(run.chart.from + part * (run.chart.to - run.chart.from));
  });

  // Four times as fast as it happened.
  const play = $("play");
  let playing = null;
  const stop = () => { cancelAnimationFrame(playing); playing = null; play.textContent = "Play"; };
  play.addEventListener("click", () => {
    if (playing) return stop();
    play.textContent = "Pause";
    if (Number(time.value) >= run.chart.to - 0.1) show(run.chart.from);
    let last = null;
    const frame = (now) => {
      const t = Number(time.value) + (last === null ? 0 : ((now - last) / 1000) * 4);
      last = now;
      show(Math.min(t, run.chart.to));
      if (t >= run.chart.to) return stop();
      playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
  });

  // A clamp is one thing on the map, in the chart and in the table.
  let chosen = [];
  const choose = (number) => {
    const [t, text] = run.clamps[number - 1];
    for (const element of chosen) element.classList.remove("on");
    chosen = [...document.querySelectorAll(`[data-clamp="${number}"]`)];
    for (const element of chosen) element.classList.add("on");
    $("detail").textContent = text;
    stop();
    show(t);
  };
  for (const element of document.querySelectorAll("[data-clamp]")) {
    const number = Number(element.dataset.clamp);
    element.addEventListener("pointerenter", () => choose(number));
    element.addEventListener("focus", () => choose(number));
  }

  for (const box of document.querySelectorAll("[data-family]")) {
    box.addEventListener("change", () =>
      document.body.classList.toggle("hide-" + box.dataset.family, !box.checked));
  }
  show(0);
})();
