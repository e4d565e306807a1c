/** The speed over the time of the track, as two paths of an SVG: a stroke, and the area under it. */

import { formatSpeed } from "./format";
import { byId, setText } from "./page";
import type { TrackPoint } from "./track";

const WIDTH = 300;
const HEIGHT = 56;
// Room for the stroke at both edges.
const MARGIN = 2;
// A fleet in a jam must not look like one on a motorway: below 30 km/h the scale does not shrink any more.
const LOWEST_PEAK_MPS = 30 / 3.6;
// Without a fix for so long the stroke is broken.
const BREAK_MILLIS = 3 * 60_000;

export interface ChartPaths {
  readonly stroke: string;
  readonly area: string;
  readonly peakMps: number;
}

/** The highest speed of each column of one unit is drawn: a track of 12 hours has far more fixes than columns. */
export function chartPaths(points: readonly TrackPoint[], fromMillis: number, toMillis: number): ChartPaths {
  const runs: { column: number; atMillis: number; speedMps: number }[][] = [];
  let peakMps = 0;
  for (const { atMillis, speedMps } of points) {
    if (speedMps === null || atMillis < fromMillis || atMillis > toMillis) continue;
    peakMps = Math.max(peakMps, speedMps);
    const column = Math.round(((atMillis - fromMillis) / Math.max(1, toMillis - fromMillis)) * WIDTH);
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (run === undefined || last === undefined || atMillis - last.atMillis > BREAK_MILLIS) {
      runs.push([{ column, atMillis, speedMps }]);
    } else if (last.column === column) {
      last.atMillis = atMillis;
      last.speedMps = Math.max(last.speedMps, speedMps);
    } else {
      run.push({ column, atMillis, speedMps });
    }
  }
  const scale = (HEIGHT - 2 * MARGIN) / Math.max(LOWEST_PEAK_MPS, peakMps);
  const strokes: string[] = [];
  const areas: string[] = [];
  for (const run of runs) {
    const steps = run.map(({ column, speedMps }) => `${column} ${(HEIGHT - MARGIN - speedMps * scale).toFixed(1)}`);
    const first = run[0]?.column ?? 0;
    const last = run.at(-1)?.column ?? 0;
    strokes.push(`M${steps.join("L")}`);
    areas.push(`M${first} ${HEIGHT}L${steps.join("L")}L${last} ${HEIGHT}Z`);
  }
  return { stroke: strokes.join(""), area: areas.join(""), peakMps };
}

export function drawChart(points: readonly TrackPoint[], fromMillis: number, toMillis: number, span: string): void {
  const { stroke, area, peakMps } = chartPaths(points, fromMillis, toMillis);
  const chart = document.querySelector("#chart");
  chart?.querySelector(".stroke")?.setAttribute("d", stroke);
  chart?.querySelector(".area")?.setAttribute("d", area);
  setText(byId("chart-from", HTMLElement), `${span} ago`);
  setText(byId("chart-peak", HTMLElement), stroke === "" ? "" : `up to ${formatSpeed(peakMps)}`);
}
