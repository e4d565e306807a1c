/** Clicking and pointing at vehicles on the map. */

import { Popup, type Map as MapLibreMap, type Point } from "maplibre-gl";

import { VEHICLE_LAYERS } from "./layers";

// A finger covers about 24 pixels; a dot has 8.
const REACH_PIXELS = 12;
const HOVER_REACH_PIXELS = 4;

/** Calls `onPick` with the device nearest to a click, or null for a click on the ground. */
export function watchPicks(map: MapLibreMap, onPick: (device: string | null) => void): void {
  const label = new Popup({ closeButton: false, closeOnClick: false, offset: 12, className: "vehicle-label" });
  map.on("click", ({ point }) => onPick(nearest(map, point, REACH_PIXELS)?.device ?? null));
  map.on("mousemove", ({ point }) => {
    // While the map is dragged its features move under the pointer, and looking them up costs frames.
    const found = map.isMoving() ? null : nearest(map, point, HOVER_REACH_PIXELS);
    map.getCanvas().style.cursor = found === null ? "" : "pointer";
    if (found === null) label.remove();
    else label.setLngLat(found.place).setText(found.device).addTo(map);
  });
  map.on("mouseout", () => label.remove());
  map.on("movestart", () => label.remove());
}

interface Found {
  readonly device: string;
  readonly place: [number, number];
}

function nearest(map: MapLibreMap, point: Point, reachPixels: number): Found | null {
  const layers = VEHICLE_LAYERS.filter((layer) => map.getLayer(layer) !== undefined);
  if (layers.length === 0) return null;
  const box: [[number, number], [number, number]] = [
    [point.x - reachPixels, point.y - reachPixels],
    [point.x + reachPixels, point.y + reachPixels],
  ];
  let closest: Found | null = null;
  let closestPixels = Number.POSITIVE_INFINITY;
  for (const { geometry, properties } of map.queryRenderedFeatures(box, { layers })) {
    const device: unknown = properties["device"];
    if (geometry.type !== "Point" || typeof device !== "string") continue;
    const [lon = 0, lat = 0] = geometry.coordinates;
    const pixels = map.project([lon, lat]).dist(point);
    if (pixels >= closestPixels) continue;
    closestPixels = pixels;
    closest = { device, place: [lon, lat] };
  }
  return closest;
}
